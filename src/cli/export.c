/*
 * `export`: an account's mail as Maildir or mbox. Reads index and log itself, beside the server if it runs, as the store's
 * user; what it writes belongs to whoever runs the command. Run again, it goes on where it was interrupted.
 */
#include "cli/export.h"

#include "base/io.h"
#include "base/mem.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/store_dir.h"
#include "store/account.h"
#include "store/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct exporter {
    const struct cli_input *input;
    const struct export_format *format;
    int directory;
    struct index *index;
    struct segments segments;
    struct account account;
    void *data;
    /* Of the mailbox under way. */
    struct buf flags; /* struct flagged, in the order of UIDs */
    size_t flag_at;
    uint64_t written;
    uint64_t present;
    uint64_t damaged; /* in all mailboxes */
    uint64_t progress_ms;
};

struct flagged {
    uint32_t uid;
    uint64_t flags;
};

const struct cli_input *export_input(const struct exporter *exporter)
{
    return exporter->input;
}

int export_directory(const struct exporter *exporter)
{
    return exporter->directory;
}

void *export_data(const struct exporter *exporter)
{
    return exporter->data;
}

void export_set_data(struct exporter *exporter, void *data)
{
    exporter->data = data;
}

int export_failed(const struct exporter *exporter, const char *name)
{
    return cli_fail(exporter->input, EX_CANTCREAT,
                    "make room or see to the rights, then run the export again", "cannot write %s: %s", name,
                    strerror(errno));
}

bool export_append_lines(struct str text, struct buf *out)
{
    size_t begin = 0;
    for (size_t i = 1; i < text.len; i++) {
        if (text.data[i] == '\n' && text.data[i - 1] == '\r') {
            buf_append_str(out, str_sub(text, begin, i - 1));
            begin = i;
        }
    }
    return buf_append_str(out, str_from(text, begin)) && buf_ok(out);
}

void export_each_keyword(struct str keywords, uint64_t flags,
                         void (*each)(void *context, unsigned number, struct str keyword), void *context)
{
    struct str rest = keywords;
    struct str keyword;
    for (unsigned i = 0; i < FLAGS_KEYWORDS_MAX && str_split(&rest, ' ', &keyword); i++) {
        if (keyword.len > 0 && (flags >> (FLAGS_KEYWORD_FIRST + i) & 1) != 0) {
            each(context, i, keyword);
        }
    }
}

/* Reading. */

static int index_failed(const struct exporter *e)
{
    return cli_fail(e->input, EX_IOERR, "try again; if it stays so, `veredus verify` says more",
                    "the index cannot be read: %s", e->index->error);
}

static bool collect_flags(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    struct exporter *e = context;
    struct flagged flagged = {.uid = uid, .flags = flags};
    (void)modseq;
    return buf_append(&e->flags, &flagged, sizeof(flagged));
}

/* False: the message came after its mailbox's flags were read; it is left for the next export. */
static bool flags_of(struct exporter *e, uint32_t uid, uint64_t *flags)
{
    struct flagged flagged = {.uid = 0};
    while (e->flag_at + sizeof(flagged) <= e->flags.len) {
        memcpy(&flagged, e->flags.data + e->flag_at, sizeof(flagged));
        if (flagged.uid >= uid) {
            break;
        }
        e->flag_at += sizeof(flagged);
    }
    *flags = flagged.flags;
    return flagged.uid == uid;
}

static void show_progress(struct exporter *e, struct str name, uint32_t total)
{
    if (cli_shows_progress(e->input->json, &e->progress_ms)) {
        fprintf(stderr, "%.*s: %llu of %u messages\n", STR_ARGS(name),
                (unsigned long long)(e->written + e->present), total);
    }
}

static int export_message(struct exporter *e, struct export_message *m, const struct message_place *place)
{
    struct buf text = buf_make(RECORD_TOTAL_MAX);
    bool present = false;
    int code = e->format->find == NULL ? EX_OK : e->format->find(e, m, &present);
    if (code != EX_OK || present) {
        e->present += code == EX_OK;
        return code;
    }
    if (!message_read(&e->segments, place, 0, m->size, &text) || text.len != m->size) {
        fprintf(stderr,
                "veredus: left out: message %u cannot be read from the log; `veredus verify` says more\n",
                m->uid);
        e->damaged++;
        buf_free(&text);
        return EX_OK;
    }
    m->text = buf_str(&text);
    code = e->format->message(e, m);
    e->written += code == EX_OK;
    buf_free(&text);
    return code;
}

static int export_messages(struct exporter *e, const struct mailbox *mailbox, struct str name)
{
    sqlite3_stmt *q = sql_prepare(e->index, SQL_MESSAGE_READ);
    int code = q == NULL ? index_failed(e) : EX_OK;
    if (code != EX_OK) {
        return code;
    }
    sql_bind_range(q, mailbox, &(struct uid_range){1, UINT32_MAX});
    e->index->error[0] = '\0';
    while (code == EX_OK && sql_row(e->index, q)) {
        struct export_message m = {.uid = (uint32_t)sqlite3_column_int64(q, 0),
                                   .size = (uint64_t)sqlite3_column_int64(q, 3),
                                   .seconds = sqlite3_column_int64(q, 4) / 1000};
        struct message_place place = {.recipient = (uint32_t)sqlite3_column_int64(q, 2),
                                      .size = m.size,
                                      .segment = sqlite3_column_int64(q, 6),
                                      .offset = sqlite3_column_int64(q, 7),
                                      .octets = (uint32_t)sqlite3_column_int64(q, 8)};
        if (sql_get_ident(q, 1, &place.id) && flags_of(e, m.uid, &m.flags)) {
            m.id = place.id;
            code = export_message(e, &m, &place);
            show_progress(e, name, mailbox->messages);
        }
    }
    sql_done(q);
    return code == EX_OK && e->index->error[0] != '\0' ? index_failed(e) : code;
}

static void report(const struct exporter *e, struct str name)
{
    if (e->input->json) {
        json_t *row = json_pack("{s:s%,s:I,s:I}", "mailbox", name.data, name.len, "written",
                                (json_int_t)e->written, "present", (json_int_t)e->present);
        if (row != NULL) {
            cli_print_json(row);
        }
        json_decref(row);
        return;
    }
    cli_print_text(name);
    printf(": %llu messages written", (unsigned long long)e->written);
    if (e->present > 0) {
        printf(", %llu were there already", (unsigned long long)e->present);
    }
    puts(".");
}

static int export_mailbox(struct exporter *e, const struct mailbox *mailbox, struct str name,
                          struct str keywords)
{
    buf_clear(&e->flags);
    e->flag_at = 0;
    e->written = e->present = 0;
    if (flags_each(e->index, mailbox, 1, 0, collect_flags, e) != 0 || !buf_ok(&e->flags)) {
        return index_failed(e);
    }
    int code = e->format->begin(e, mailbox, name, keywords);
    if (code == EX_OK) {
        code = export_messages(e, mailbox, name);
    }
    if (code == EX_OK) {
        code = e->format->end(e, mailbox, name);
    }
    if (code == EX_OK) {
        report(e, name);
    }
    return code;
}

/* All mailboxes; their rows are copied first, as statements are not read two at a time. */

struct row {
    struct mailbox mailbox;
    size_t name_at;
    size_t name_len;
    size_t keywords_len;
};

struct rows {
    struct buf rows;
    struct buf texts;
    const char *only;
};

static bool collect_row(void *context, const struct mailbox *mailbox, struct str name, struct str keywords)
{
    struct rows *r = context;
    struct row row = {
        .mailbox = *mailbox, .name_at = r->texts.len, .name_len = name.len, .keywords_len = keywords.len};
    if (r->only != NULL && !str_equal(name, str_of(r->only))) {
        return true;
    }
    return buf_append(&r->rows, &row, sizeof(row)) && buf_append_str(&r->texts, name) &&
           (keywords.len == 0 || buf_append_str(&r->texts, keywords));
}

static bool collect_subscription(void *context, struct str name)
{
    struct buf *list = context;
    return buf_append_str(list, name) && buf_append_char(list, '\n');
}

static int export_all(struct exporter *e)
{
    struct rows r = {.rows = buf_make(64 << 20),
                     .texts = buf_make(64 << 20),
                     .only = cli_option_value(e->input, "--mailbox")};
    struct buf subscriptions = buf_make(64 << 20);
    int code = EX_OK;
    if (folder_list(e->index, e->account.id, collect_row, &r) != 0 ||
        folder_subscriptions(e->index, e->account.id, collect_subscription, &subscriptions) != 0) {
        code = index_failed(e);
    } else if (r.rows.len == 0) {
        code = cli_fail(e->input, EX_NOINPUT, "without --mailbox all of them are exported",
                        "there is no mailbox \"%s\"", r.only == NULL ? "" : r.only);
    }
    for (size_t at = 0; code == EX_OK && at < r.rows.len; at += sizeof(struct row)) {
        struct row row;
        memcpy(&row, r.rows.data + at, sizeof(row));
        code = export_mailbox(e, &row.mailbox, str_make(r.texts.data + row.name_at, row.name_len),
                              str_make(r.texts.data + row.name_at + row.name_len, row.keywords_len));
    }
    if (code == EX_OK && e->format->finish != NULL) {
        code = e->format->finish(e, buf_str(&subscriptions));
    }
    /* One flush for all: only then is it told that everything is there. */
    if (code == EX_OK && syncfs(e->directory) != 0) {
        code = export_failed(e, "to the disk");
    }
    buf_free(&r.rows);
    buf_free(&r.texts);
    buf_free(&subscriptions);
    return code;
}

/* The command. */

static int open_target(struct exporter *e, const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return export_failed(e, path);
    }
    e->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return e->directory < 0 ? export_failed(e, path) : EX_OK;
}

static int find_account(struct exporter *e, const char *address)
{
    struct buf form = buf_make(ACCOUNT_ADDRESS_MAX);
    bool fine = address_lookup_form(str_of(address), &form);
    int found = fine ? account_find(e->index, buf_str(&form), &e->account) : 0;
    buf_free(&form);
    if (found < 0) {
        return index_failed(e);
    }
    return found == 1 ? EX_OK
                      : cli_fail(e->input, EX_NOUSER, "`veredus user list` shows those there are",
                                 "there is no account %s", address);
}

static int open_store(struct exporter *e)
{
    struct buf errors = buf_make(4096);
    int code = cli_enter_store(e->input, STORE_RETURN);
    if (code != EX_OK) {
        return code;
    }
    e->index = index_open("index.db", false, &errors);
    if (e->index == NULL) {
        buf_append_char(&errors, '\0');
        code = cli_fail(e->input, EX_IOERR, "`veredus verify` says more", "the index cannot be opened: %s",
                        buf_ok(&errors) ? errors.data : "no memory");
    } else if (segments_init(&e->segments, &io_system, false) != 0) {
        code = cli_fail(e->input, EX_IOERR, NULL, "the log cannot be opened: %s", strerror(errno));
        index_close(e->index);
        e->index = NULL;
    } else {
        /* No segment is removed while it is read; SQLite opens its files with the first statement. */
        flock(e->segments.dir, LOCK_SH);
        code = find_account(e, e->input->arguments[0]);
    }
    buf_free(&errors);
    cli_leave_owner();
    return code;
}

int cli_export(const struct cli_input *input)
{
    struct exporter e = {.input = input, .directory = -1, .flags = buf_make(SIZE_MAX / 2)};
    const char *format = cli_option_value(input, "--format");
    e.format = format == NULL || strcmp(format, "maildir") == 0 ? &export_maildir
               : strcmp(format, "mbox") == 0                    ? &export_mbox
                                                                : NULL;
    if (e.format == NULL) {
        return cli_fail(input, EX_USAGE, "give --format maildir or --format mbox",
                        "there is no format \"%s\"", format);
    }
    int code = open_target(&e, input->arguments[1]);
    if (code == EX_OK) {
        code = open_store(&e);
    }
    if (code == EX_OK) {
        code = export_all(&e);
    }
    if (e.index != NULL) {
        segments_close(&e.segments);
        index_close(e.index);
    }
    if (e.directory >= 0) {
        close(e.directory);
    }
    buf_free(&e.flags);
    if (code == EX_OK && e.damaged > 0) {
        return cli_fail(input, EX_DATAERR, "`veredus verify` names what is damaged",
                        "%llu messages could not be read", (unsigned long long)e.damaged);
    }
    return code;
}
