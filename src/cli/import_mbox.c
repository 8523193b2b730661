/* Mbox files for `veredus import`: one file, or a directory of files whose names end in ".mbox". */
#include "base/mem.h"
#include "cli/import.h"
#include "message/maildir.h"
#include "message/mbox.h"
#include "store/flags.h"
#include "store/record.h"

#include <dirent.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>

enum { PATH_BYTES = 4096 };

/* A message by the hash of its text, and how often it came. */
struct seen {
    uint64_t hash;
    uint32_t count;
};

struct mbox_file {
    struct importer *importer;
    const char *path;
    struct str mailbox;
    FILE *file;
    struct buf text; /* of the message under way */
    struct mbox_marks marks;
    bool in_message;
    bool in_header;
    bool field_dropped; /* lines that continue it are too */
    bool blank_before;
    bool began; /* the mailbox has been named to the server */
    uint32_t uid_last;
    struct seen *seen; /* a table by hash, for messages that come twice */
    size_t seen_room;
    size_t seen_count;
};

enum { HASH = 16 };

static uint64_t flags_of(unsigned marks)
{
    return ((marks & MBOX_SEEN) != 0 ? FLAG_SEEN : 0U) | ((marks & MBOX_ANSWERED) != 0 ? FLAG_ANSWERED : 0U) |
           ((marks & MBOX_FLAGGED) != 0 ? FLAG_FLAGGED : 0U) |
           ((marks & MBOX_DELETED) != 0 ? FLAG_DELETED : 0U) | ((marks & MBOX_DRAFT) != 0 ? FLAG_DRAFT : 0U);
}

static int begin_mailbox(struct mbox_file *m)
{
    if (m->began) {
        return EX_OK;
    }
    m->began = true;
    m->uid_last = m->marks.uid_last;
    return import_mailbox(m->importer, m->mailbox, m->marks.uid_validity, m->uid_last + 1, true);
}

/* Where this hash stands in the table, or would. */
static struct seen *find_seen(const struct mbox_file *m, uint64_t hash)
{
    size_t at = (size_t)hash & (m->seen_room - 1);
    while (m->seen[at].count > 0 && m->seen[at].hash != hash) {
        at = (at + 1) & (m->seen_room - 1);
    }
    return &m->seen[at];
}

static bool grow_seen(struct mbox_file *m)
{
    struct seen *old = m->seen;
    size_t room = m->seen_room;
    struct seen *larger = mem_zalloc(room == 0 ? 1024 : room * 2, sizeof(*larger));
    if (larger == NULL) {
        return false;
    }
    m->seen = larger;
    m->seen_room = room == 0 ? 1024 : room * 2;
    for (size_t i = 0; i < room; i++) {
        if (old[i].count > 0) {
            *find_seen(m, old[i].hash) = old[i];
        }
    }
    mem_free(old);
    return true;
}

/* The same message may stand in a file more than once: how many there were before this one. Without memory 0. */
static uint32_t count_same(struct mbox_file *m, uint64_t hash)
{
    if (m->seen_count * 2 >= m->seen_room && !grow_seen(m)) {
        return 0;
    }
    struct seen *seen = find_seen(m, hash);
    m->seen_count += seen->count == 0;
    seen->hash = hash;
    return seen->count++;
}

static int end_message(struct mbox_file *m)
{
    unsigned char source[HASH + sizeof(uint32_t)];
    uint64_t hash;
    uint32_t before;
    struct str text = buf_str(&m->text);
    if (!m->in_message) {
        return EX_OK;
    }
    m->in_message = false;
    int code = begin_mailbox(m);
    if (m->marks.internal || code != EX_OK) {
        return code;
    }
    /* The empty line before the next "From " belongs to the file. */
    text.len -= str_ends(text, STR("\r\n\r\n")) ? 2U : str_ends(text, STR("\n\n")) ? 1U : 0U;
    crypto_generichash(source, HASH, (const unsigned char *)text.data, text.len, NULL, 0);
    memcpy(&hash, source, sizeof(hash));
    before = count_same(m, hash);
    memcpy(source + HASH, &before, sizeof(before));
    struct import_message message = {.text = text,
                                     .source = str_make(source, sizeof(source)),
                                     .uid = m->marks.uid,
                                     .flags = flags_of(m->marks.marks),
                                     .keywords = buf_str(&m->marks.keywords),
                                     .seconds = m->marks.seconds,
                                     .named_seconds = m->marks.seconds > 0 ? m->marks.seconds : 0};
    return import_add(m->importer, &message, 0);
}

static void begin_message(struct mbox_file *m, int64_t seconds)
{
    buf_clear(&m->text);
    buf_clear(&m->marks.keywords);
    m->marks = (struct mbox_marks){.seconds = seconds, .keywords = m->marks.keywords};
    m->in_message = true;
    m->in_header = true;
    m->field_dropped = false;
}

static bool is_blank(struct str line)
{
    return str_equal(line, STR("\n")) || str_equal(line, STR("\r\n"));
}

static int take_line(struct mbox_file *m, struct str line)
{
    int64_t seconds;
    if (m->blank_before && mbox_is_from(line, &seconds)) {
        int code = end_message(m);
        begin_message(m, seconds);
        m->blank_before = false;
        return code;
    }
    m->blank_before = is_blank(line);
    if (!m->in_message) {
        return EX_OK;
    }
    if (m->in_header && m->blank_before) {
        m->in_header = false;
    } else if (m->in_header) {
        bool continues = line.data[0] == ' ' || line.data[0] == '\t';
        m->field_dropped = continues ? m->field_dropped : mbox_take_field(line, &m->marks);
        if (m->field_dropped) {
            return EX_OK;
        }
    } else {
        line = mbox_unquote(line);
    }
    if (m->text.len + line.len > RECORD_TOTAL_MAX - 4096 || !buf_append_str(&m->text, line)) {
        import_left_out(m->importer, m->path, "a message in it is larger than a message can be");
        m->in_message = false;
    }
    return EX_OK;
}

static int read_lines(struct mbox_file *m)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int code = EX_OK;
    m->blank_before = true;
    while (code == EX_OK && (n = getline(&line, &room, m->file)) > 0) {
        code = take_line(m, str_make(line, (size_t)n));
    }
    free(line);
    if (code == EX_OK && ferror(m->file)) {
        code = cli_fail(import_input(m->importer), EX_IOERR, "run the import again when it can be read",
                        "cannot read %s: %s", m->path, strerror(errno));
    }
    if (code == EX_OK) {
        code = end_message(m);
    }
    if (code == EX_OK) {
        code = begin_mailbox(m); /* an empty file is an empty mailbox */
    }
    return code == EX_OK ? import_finish_mailbox(m->importer) : code;
}

static int import_one(struct importer *importer, const char *path, struct str mailbox)
{
    struct mbox_file m = {.importer = importer, .path = path, .mailbox = mailbox, .file = fopen(path, "re")};
    if (m.file == NULL) {
        return cli_fail(import_input(importer), EX_NOINPUT,
                        "name a file, a Maildir, or a directory of .mbox files", "cannot open %s: %s", path,
                        strerror(errno));
    }
    m.text = buf_make(RECORD_TOTAL_MAX);
    m.marks.keywords = buf_make(MBOX_KEYWORDS_MAX);
    int code = read_lines(&m);
    fclose(m.file);
    buf_free(&m.text);
    buf_free(&m.marks.keywords);
    mem_free(m.seen);
    return code;
}

/* "Work.Reports.mbox" is Work/Reports, as `veredus export` writes it. */
static int import_directory(struct importer *importer, const char *path)
{
    struct dirent **entries = NULL;
    int count;
    int code = import_list(importer, path, &entries, &count);
    int found = 0;
    for (int i = 0; i < count; i++) {
        struct str file = str_of(entries[i]->d_name);
        struct buf directory = buf_make(4096);
        struct buf name = buf_make(4096);
        char full[PATH_BYTES];
        buf_append_char(&directory, '.');
        buf_append_str(&directory, str_sub(file, 0, file.len - 5));
        int length = snprintf(full, sizeof(full), "%s/%s", path, entries[i]->d_name);
        if (code == EX_OK && str_ends(file, STR(".mbox"))) {
            found++;
            if (length < PATH_BYTES && maildir_folder_from(buf_str(&directory), &name)) {
                code = import_one(importer, full, buf_str(&name));
            } else {
                import_left_out(importer, full, "this is no name of a folder; give it with --mailbox");
            }
        }
        buf_free(&directory);
        buf_free(&name);
        free(entries[i]);
    }
    free(entries);
    if (code == EX_OK && found == 0) {
        code = cli_fail(import_input(importer), EX_NOINPUT,
                        "name a file, a Maildir, or a directory of .mbox files",
                        "%s has no file that ends in .mbox", path);
    }
    return code;
}

int import_mbox(struct importer *importer, const char *path, const char *mailbox)
{
    struct stat info;
    if (mailbox == NULL && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return import_directory(importer, path);
    }
    return import_one(importer, path, mailbox == NULL ? STR("INBOX") : str_of(mailbox));
}
