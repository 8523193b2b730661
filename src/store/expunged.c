/* UIDs that were expunged; see expunged.h. */
#include "store/expunged.h"

enum { EXPUNGED_KEPT = 100000 };

static int add(struct index *index, const struct mailbox *mailbox, uint64_t modseq, struct str ranges)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_EXPUNGED_ADD);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, (int64_t)modseq);
    sql_blob(q, 4, ranges.data, ranges.len);
    return sql_run(index, q);
}

int expunged_note(struct index *index, const struct mailbox *mailbox, uint64_t modseq, struct str ranges)
{
    if (add(index, mailbox, modseq, ranges) != 0) {
        return -1;
    }
    if (modseq <= EXPUNGED_KEPT) {
        return 0;
    }
    /* Sessions hear of each change at once: none is so far behind. */
    sqlite3_stmt *q = sql_prepare(index, SQL_EXPUNGED_TRIM);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, (int64_t)(modseq - EXPUNGED_KEPT));
    return sql_run(index, q);
}

/* Appends, as packed ranges, all UIDs that the mailbox has given out and that are not there. 0, or -1. */
static int append_gaps(struct index *index, const struct mailbox *mailbox, struct buf *ranges)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_FLAGS);
    uint32_t next = 1; /* the first UID of which it is not known yet */
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, 1);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        uint32_t uid = (uint32_t)sqlite3_column_int64(q, 0);
        if (uid > next) {
            buf_append_le32(ranges, next);
            buf_append_le32(ranges, uid - 1);
        }
        next = uid + 1;
    }
    if (mailbox->uid_next > next) {
        buf_append_le32(ranges, next);
        buf_append_le32(ranges, mailbox->uid_next - 1);
    }
    return index->error[0] == '\0' && buf_ok(ranges) ? 0 : -1;
}

int expunged_forgotten(struct index *index, const struct mailbox *mailbox)
{
    struct buf ranges = buf_make(SIZE_MAX / 2);
    int result = append_gaps(index, mailbox, &ranges);
    if (result == 0 && ranges.len > 0) {
        result = add(index, mailbox, mailbox->modseq, buf_str(&ranges));
    }
    buf_free(&ranges);
    return result;
}

/* What has been trimmed is not known one by one any more. */
static int all_that_are_not_there(struct index *index, const struct mailbox *mailbox,
                                  void (*each)(void *context, struct str ranges), void *context)
{
    struct buf ranges = buf_make(SIZE_MAX / 2);
    int result = append_gaps(index, mailbox, &ranges);
    if (result == 0 && ranges.len > 0) {
        each(context, buf_str(&ranges));
    }
    buf_free(&ranges);
    return result;
}

int expunged_since(struct index *index, const struct mailbox *mailbox, uint64_t modseq,
                   void (*each)(void *context, struct str ranges), void *context)
{
    if (mailbox->modseq > EXPUNGED_KEPT && modseq < mailbox->modseq - EXPUNGED_KEPT) {
        return all_that_are_not_there(index, mailbox, each, context);
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_EXPUNGED_LIST);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, (int64_t)modseq);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        const void *ranges = sqlite3_column_blob(q, 1);
        int len = sqlite3_column_bytes(q, 1);
        if (len > 0) {
            each(context, str_make(ranges, (size_t)len));
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}
