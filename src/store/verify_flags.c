/* Flags and modification sequences beside those that the log's events make, message by message; see verify.h. */
#include "store/verify_private.h"

#include "store/flags.h"

/* As they come from flags_each. */
struct values {
    uint32_t uid;
    uint64_t flags;
    uint64_t modseq;
};

struct pass {
    struct verify *v;
    const struct mailbox *mailbox;
    struct buf logs; /* struct values, by the log */
    size_t at;
};

static bool collect_one(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    struct pass *pass = context;
    struct values values = {uid, flags, modseq};
    return buf_append(&pass->logs, &values, sizeof(values));
}

static void say_uid(struct pass *pass, uint32_t uid, const char *what)
{
    verify_problem(pass->v, "flags of mailbox %lld, UID %u%s", (long long)pass->mailbox->id, (unsigned)uid,
                   what);
}

static bool next_of_log(const struct pass *pass, struct values *values)
{
    if (pass->at >= pass->logs.len) {
        return false;
    }
    memcpy(values, pass->logs.data + pass->at, sizeof(*values));
    return true;
}

static bool compare_one(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    struct pass *pass = context;
    struct values logs;
    while (next_of_log(pass, &logs) && logs.uid < uid) {
        say_uid(pass, logs.uid, " are not in the index; by the log they should be");
        pass->at += sizeof(logs);
    }
    if (!next_of_log(pass, &logs) || logs.uid != uid) {
        say_uid(pass, uid, " are in the index; by the log they should not be");
        return true;
    }
    pass->at += sizeof(logs);
    if (flags != logs.flags || modseq != logs.modseq) {
        say_uid(pass, uid, " are not what the log says");
    }
    return true;
}

static int check_mailbox(struct verify *v, const struct mailbox *mailbox)
{
    struct pass pass = {.v = v, .mailbox = mailbox, .logs = buf_make(SIZE_MAX / 2)};
    struct mailbox by_log;
    struct values logs;
    int result = mailbox_find(v->scratch, mailbox->account, mailbox->id, &by_log);
    if (result == 1) {
        result =
            flags_each(v->scratch, &by_log, 1, 0, collect_one, &pass) == 0 && buf_ok(&pass.logs) ? 0 : -1;
        if (result == 0 && flags_each(v->index, mailbox, 1, 0, compare_one, &pass) != 0) {
            verify_problem(v, "%s", v->index->error);
        } else if (result == 0) {
            for (; next_of_log(&pass, &logs); pass.at += sizeof(logs)) {
                say_uid(&pass, logs.uid, " are not in the index; by the log they should be");
            }
        }
    }
    buf_free(&pass.logs);
    return result;
}

int verify_flags(struct verify *v)
{
    sqlite3_stmt *q = sql_prepare(v->index, SQL_MAILBOX_ALL);
    struct mailbox mailbox;
    int result = 0;
    if (q == NULL) {
        return -1;
    }
    v->index->error[0] = '\0';
    while (result == 0 && sql_row(v->index, q)) {
        mailbox_read_row(q, &mailbox);
        result = check_mailbox(v, &mailbox);
    }
    sql_done(q);
    return result;
}
