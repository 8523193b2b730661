/*
 * What an import reads line by line: mbox, Maildir, Dovecot's lists, folder names in modified UTF-7. A folder's name made from
 * a directory gives a directory that means the same; a quoted line is the line with a ">"; kept keywords have no empty word.
 */
#include "message/maildir.h"
#include "message/mbox.h"
#include "message/mutf7.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_folder(struct str text)
{
    struct buf name = buf_make(1 << 20);
    struct buf directory = buf_make(1 << 20);
    struct buf again = buf_make(1 << 20);
    if (maildir_folder_from(text, &name) && str_is_utf8(buf_str(&name)) && str_is_utf8(text) &&
        str_find_str(buf_str(&name), STR("//")) == SIZE_MAX && name.data[name.len - 1] != '/') {
        must(maildir_folder_to(buf_str(&name), &directory));
        must(maildir_folder_from(buf_str(&directory), &again) && str_equal(buf_str(&again), buf_str(&name)));
    }
    buf_free(&name);
    buf_free(&directory);
    buf_free(&again);
}

static void check_mutf7(struct str text)
{
    struct buf name = buf_make(1 << 20);
    struct buf again = buf_make(1 << 20);
    if (mutf7_decode(text, &name)) {
        must(str_is_utf8(buf_str(&name)));
        mutf7_encode(buf_str(&name), &again);
        must(buf_ok(&again));
    }
    buf_free(&name);
    buf_free(&again);
}

static void check_lines(struct str text)
{
    struct mbox_marks marks = {.keywords = buf_make(MBOX_KEYWORDS_MAX)};
    struct maildir_uidlist list = {.version = 0};
    struct str line;
    struct str file;
    int64_t seconds;
    uint32_t uid;
    unsigned letter;
    bool first = true;
    while (str_split(&text, '\n', &line)) {
        struct str plain = mbox_unquote(line);
        must(plain.len == line.len ||
             (plain.len + 1 == line.len && mbox_needs_quote(line) && mbox_needs_quote(plain)));
        must(!mbox_is_from(line, &seconds) || mbox_needs_quote(line));
        mbox_take_field(line, &marks);
        if (first) {
            maildir_uidlist_header(line, &list);
        } else if (maildir_uidlist_entry(&list, line, &uid, &file)) {
            must(uid > 0 && file.len > 0);
        }
        must(!maildir_keyword(line, &letter, &file) || (letter < MAILDIR_KEYWORDS && file.len > 0));
        first = false;
    }
    must(str_find_str(buf_str(&marks.keywords), STR("  ")) == SIZE_MAX);
    buf_free(&marks.keywords);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make(data, size);
    struct maildir_name name = maildir_name_read(text);
    must(name.unique.len + name.flags.len <= size);
    maildir_name_seconds(name.unique);
    check_folder(text);
    check_mutf7(text);
    check_lines(text);
    return 0;
}
