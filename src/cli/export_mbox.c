/*
 * Mbox for `veredus export`: a file a mailbox, "Work.Reports.mbox", with the marks in the fields that Dovecot, mutt and others
 * read. A file is written beside the old one and takes its place when it is whole.
 */
#include "cli/export.h"
#include "message/maildir.h"
#include "message/mbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

static const char unfinished[] = ".veredus-export";

/* One export at a time runs in a process. */
static struct {
    FILE *file;
    struct mailbox mailbox;
    struct str keywords;
    bool first;
} mbox;

static int begin_file(struct exporter *e, const struct mailbox *mailbox, struct str name, struct str keywords)
{
    int fd =
        openat(export_directory(e), unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    (void)name;
    mbox.file = fd < 0 ? NULL : fdopen(fd, "w");
    mbox.mailbox = *mailbox;
    mbox.keywords = keywords;
    mbox.first = true;
    return mbox.file == NULL ? export_failed(e, unfinished) : EX_OK;
}

static void append_keyword(void *context, unsigned number, struct str keyword)
{
    (void)number;
    buf_append_char(context, ' ');
    buf_append_str(context, keyword);
}

static void append_marks(const struct export_message *m, struct buf *out)
{
    if (mbox.first) {
        buf_printf(out, "X-IMAPbase: %u %u", mbox.mailbox.uid_validity, mbox.mailbox.uid_next - 1);
        export_each_keyword(mbox.keywords, UINT64_MAX, append_keyword, out);
        buf_append_char(out, '\n');
    }
    buf_printf(out, "X-UID: %u\n", m->uid);
    buf_printf(out, "Status: %sO\n", (m->flags & FLAG_SEEN) != 0 ? "R" : "");
    buf_printf(out, "X-Status: %s%s%s%s\n", (m->flags & FLAG_ANSWERED) != 0 ? "A" : "",
               (m->flags & FLAG_FLAGGED) != 0 ? "F" : "", (m->flags & FLAG_DRAFT) != 0 ? "T" : "",
               (m->flags & FLAG_DELETED) != 0 ? "D" : "");
    buf_append_lit(out, "X-Keywords:");
    export_each_keyword(mbox.keywords, m->flags, append_keyword, out);
    buf_append_char(out, '\n');
}

/* The whole line at the front of *rest, with its ending. */
static struct str take_line(struct str *rest)
{
    size_t end = str_find(*rest, 0, '\n');
    struct str line = str_sub(*rest, 0, end == SIZE_MAX ? rest->len : end + 1);
    *rest = str_from(*rest, line.len);
    return line;
}

static void end_line(struct buf *out)
{
    if (out->len > 0 && out->data[out->len - 1] != '\n') {
        buf_append_char(out, '\n');
    }
}

/* Header without fields that say the same, marks, empty line, body with its "From " lines quoted. */
static void append_message(const struct export_message *m, struct str text, struct buf *out)
{
    struct mbox_marks ignored = {.keywords = buf_make(MBOX_KEYWORDS_MAX)};
    struct str rest = text;
    bool in_header = true;
    bool dropped = false;
    while (rest.len > 0) {
        struct str line = take_line(&rest);
        bool blank = str_equal(line, STR("\n"));
        if (in_header && blank) {
            append_marks(m, out);
            in_header = false;
        } else if (in_header) {
            dropped = line.data[0] == ' ' || line.data[0] == '\t' ? dropped : mbox_take_field(line, &ignored);
            if (dropped) {
                continue;
            }
        } else if (mbox_needs_quote(line)) {
            buf_append_char(out, '>');
        }
        buf_append_str(out, line);
    }
    if (in_header) {
        end_line(out);
        append_marks(m, out);
        buf_append_char(out, '\n');
    }
    buf_free(&ignored.keywords);
}

static int write_message(struct exporter *e, const struct export_message *m)
{
    struct buf lines = buf_make(m->size);
    struct buf out = buf_make(2 * m->size + 65536);
    buf_append_lit(&out, "From MAILER-DAEMON ");
    mbox_append_date(m->seconds, &out);
    buf_append_char(&out, '\n');
    bool fine = export_append_lines(m->text, &lines);
    append_message(m, buf_str(&lines), &out);
    end_line(&out);
    buf_append_char(&out, '\n');
    mbox.first = false;
    fine = fine && buf_ok(&out);
    errno = fine ? errno : ENOMEM;
    fine = fine && fwrite(out.data, 1, out.len, mbox.file) == out.len;
    buf_free(&lines);
    buf_free(&out);
    return fine ? EX_OK : export_failed(e, unfinished);
}

static int end_file(struct exporter *e, const struct mailbox *mailbox, struct str name)
{
    struct buf file = buf_make(8192);
    (void)mailbox;
    maildir_folder_to(name, &file);
    buf_append_lit(&file, ".mbox");
    buf_append_char(&file, '\0');
    bool fine = fclose(mbox.file) == 0 && buf_ok(&file);
    mbox.file = NULL;
    /* Without the dot that a Maildir's folders begin with. */
    fine = fine && renameat(export_directory(e), unfinished, export_directory(e), file.data + 1) == 0;
    int code = fine ? EX_OK : export_failed(e, buf_ok(&file) ? file.data + 1 : unfinished);
    buf_free(&file);
    return code;
}

const struct export_format export_mbox = {.begin = begin_file, .message = write_message, .end = end_file};
