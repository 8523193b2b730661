/*
 * Maildir++ for `veredus export`: INBOX is the directory itself, the others are ".Name" in it; with dovecot-uidlist,
 * dovecot-keywords and subscriptions as Dovecot has them, so UIDs, keywords and subscriptions are kept there too.
 */
#include "base/io.h"
#include "base/mem.h"
#include "cli/export.h"
#include "message/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { LIST_MAX = 1 << 30, NAME_BYTES = 256 };

struct maildir {
    struct exporter *exporter;
    int folder;
    int cur;
    int tmp;
    struct str keywords; /* of the mailbox */
    struct buf names;    /* of files that are there, each ended by a NUL */
    struct buf present;  /* size_t: where each begins, sorted by name */
    struct buf uidlist;  /* lines */
};

static struct maildir *data_of(struct exporter *e)
{
    return export_data(e);
}

/* What a file's name begins with: it tells the message from all others of the folder, now and at the next run. */
static int format_prefix(const struct export_message *m, char name[NAME_BYTES])
{
    char id[IDENT_TEXT + 1] = "";
    ident_format(&m->id, id);
    return snprintf(name, NAME_BYTES, "%lld.V%sU%u.veredus", (long long)(m->seconds > 0 ? m->seconds : 0), id,
                    m->uid);
}

struct letters {
    char text[48];
    size_t len;
};

static void add_letter(struct letters *l, char c)
{
    if (l->len + 1 < sizeof(l->text)) {
        l->text[l->len++] = c;
    }
}

static void add_keyword(void *context, unsigned number, struct str keyword)
{
    if (!str_equal_nocase(keyword, STR("$Forwarded")) && number < MAILDIR_KEYWORDS) {
        add_letter(context, (char)('a' + number));
    }
}

static void add_forwarded(void *context, unsigned number, struct str keyword)
{
    (void)number;
    if (str_equal_nocase(keyword, STR("$Forwarded"))) {
        add_letter(context, 'P');
    }
}

/* In the order of the alphabet, as the letters are to stand. */
static struct letters letters_of(const struct maildir *d, const struct export_message *m)
{
    struct letters l = {.len = 0};
    if ((m->flags & FLAG_DRAFT) != 0) {
        add_letter(&l, 'D');
    }
    if ((m->flags & FLAG_FLAGGED) != 0) {
        add_letter(&l, 'F');
    }
    export_each_keyword(d->keywords, m->flags, add_forwarded, &l);
    if ((m->flags & FLAG_ANSWERED) != 0) {
        add_letter(&l, 'R');
    }
    if ((m->flags & FLAG_SEEN) != 0) {
        add_letter(&l, 'S');
    }
    if ((m->flags & FLAG_DELETED) != 0) {
        add_letter(&l, 'T');
    }
    export_each_keyword(d->keywords, m->flags, add_keyword, &l);
    l.text[l.len] = '\0';
    return l;
}

/* Files that are there. */

static const char *sorted;

static int by_name(const void *a, const void *b)
{
    size_t x;
    size_t y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return strcmp(sorted + x, sorted + y);
}

static bool list_present(struct maildir *d)
{
    int copy = fcntl(d->cur, F_DUPFD_CLOEXEC, 0);
    DIR *directory = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    buf_clear(&d->names);
    buf_clear(&d->present);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        size_t at = d->names.len;
        if (entry->d_name[0] != '.') {
            buf_append(&d->names, entry->d_name, strlen(entry->d_name) + 1);
            buf_append(&d->present, &at, sizeof(at));
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    if (d->present.len > 0) {
        sorted = d->names.data;
        qsort(d->present.data, d->present.len / sizeof(size_t), sizeof(size_t), by_name);
    }
    return directory != NULL && buf_ok(&d->names) && buf_ok(&d->present);
}

/* The name of the file that begins so, or NULL. */
static const char *find_present(const struct maildir *d, const char *prefix, size_t len)
{
    size_t low = 0;
    size_t high = d->present.len / sizeof(size_t);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        size_t at;
        memcpy(&at, d->present.data + middle * sizeof(at), sizeof(at));
        int order = strncmp(d->names.data + at, prefix, len);
        if (order == 0) {
            return d->names.data + at;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

static void add_to_uidlist(struct maildir *d, const struct export_message *m, const char *name)
{
    buf_append_u64(&d->uidlist, m->uid);
    buf_append_lit(&d->uidlist, " :");
    buf_append_str(&d->uidlist, maildir_name_read(str_of(name)).unique);
    buf_append_char(&d->uidlist, '\n');
}

/* One whose flags have changed since is renamed. */
static int find_message(struct exporter *e, const struct export_message *m, bool *found_it)
{
    struct maildir *d = data_of(e);
    char prefix[NAME_BYTES];
    char name[NAME_BYTES];
    struct letters letters = letters_of(d, m);
    int len = format_prefix(m, prefix);
    const char *found = find_present(d, prefix, (size_t)len);
    *found_it = found != NULL;
    if (found == NULL) {
        return EX_OK;
    }
    struct str unique = maildir_name_read(str_of(found)).unique;
    snprintf(name, sizeof(name), "%.*s:2,%s", STR_ARGS(unique), letters.text);
    if (strcmp(name, found) != 0 && renameat(d->cur, found, d->cur, name) != 0) {
        return export_failed(e, name);
    }
    add_to_uidlist(d, m, found);
    return EX_OK;
}

/* Folders. */

/* Opens a directory below another, made if it is missing. */
static int open_below(int directory, const char *name)
{
    if (mkdirat(directory, name, 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    return openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void close_folder(struct maildir *d)
{
    int *all[] = {&d->tmp, &d->cur, &d->folder};
    for (size_t i = 0; i < 3; i++) {
        if (*all[i] >= 0) {
            close(*all[i]);
        }
        *all[i] = -1;
    }
}

static bool open_folder(struct maildir *d, const char *directory)
{
    d->folder = open_below(export_directory(d->exporter), directory);
    d->cur = d->folder < 0 ? -1 : open_below(d->folder, "cur");
    d->tmp = d->cur < 0 ? -1 : open_below(d->folder, "tmp");
    return d->tmp >= 0 && (mkdirat(d->folder, "new", 0700) == 0 || errno == EEXIST);
}

static struct maildir *make_data(struct exporter *e)
{
    struct maildir *d = mem_new(struct maildir);
    if (d != NULL) {
        *d = (struct maildir){.exporter = e, .folder = -1, .cur = -1, .tmp = -1};
        d->names = buf_make(LIST_MAX);
        d->present = buf_make(LIST_MAX);
        d->uidlist = buf_make(LIST_MAX);
        export_set_data(e, d);
    }
    return d;
}

static int begin_folder(struct exporter *e, const struct mailbox *mailbox, struct str name,
                        struct str keywords)
{
    struct maildir *d = data_of(e) == NULL ? make_data(e) : data_of(e);
    struct buf directory = buf_make(8192);
    (void)mailbox;
    if (str_equal(name, STR("INBOX"))) {
        buf_append_char(&directory, '.');
    } else {
        maildir_folder_to(name, &directory);
    }
    buf_append_char(&directory, '\0');
    if (d == NULL || !buf_ok(&directory)) {
        buf_free(&directory);
        return cli_fail(export_input(e), EX_OSERR, NULL, "there is not enough memory");
    }
    d->keywords = keywords;
    buf_clear(&d->uidlist);
    int code = open_folder(d, directory.data) && list_present(d) ? EX_OK : export_failed(e, directory.data);
    buf_free(&directory);
    return code;
}

/* Messages. */

/* A file in "tmp" with this text and time. */
static bool write_file(int directory, const char *name, struct str text, int64_t seconds)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = seconds}};
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool fine = fd >= 0 && io_write_all(fd, text) && (seconds == 0 || futimens(fd, times) == 0);
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return fine;
}

static int write_message(struct exporter *e, const struct export_message *m)
{
    struct maildir *d = data_of(e);
    struct buf text = buf_make(m->size);
    char prefix[NAME_BYTES];
    char name[2 * NAME_BYTES];
    struct letters letters = letters_of(d, m);
    format_prefix(m, prefix);
    if (!export_append_lines(m->text, &text)) {
        buf_free(&text);
        return cli_fail(export_input(e), EX_OSERR, NULL, "there is not enough memory");
    }
    snprintf(name, sizeof(name), "%s,S=%zu,W=%llu:2,%s", prefix, text.len, (unsigned long long)m->size,
             letters.text);
    bool fine =
        write_file(d->tmp, prefix, buf_str(&text), m->seconds) && renameat(d->tmp, prefix, d->cur, name) == 0;
    buf_free(&text);
    if (!fine) {
        return export_failed(e, name);
    }
    add_to_uidlist(d, m, name);
    return EX_OK;
}

/* What Dovecot wants to know. */

static int replace_file(struct maildir *d, const char *name, struct buf *text)
{
    bool fine = buf_ok(text) && write_file(d->tmp, name, buf_str(text), 0) &&
                renameat(d->tmp, name, d->folder, name) == 0;
    buf_free(text);
    return fine ? EX_OK : export_failed(d->exporter, name);
}

static int write_uidlist(struct maildir *d, const struct mailbox *mailbox)
{
    struct buf text = buf_make(LIST_MAX);
    buf_printf(&text, "3 V%u N%u\n", mailbox->uid_validity, mailbox->uid_next);
    buf_append_str(&text, buf_str(&d->uidlist));
    text.failed = text.failed || d->uidlist.failed;
    return replace_file(d, "dovecot-uidlist", &text);
}

static void append_keyword(void *context, unsigned number, struct str keyword)
{
    struct buf *text = context;
    if (number < MAILDIR_KEYWORDS) {
        buf_append_u64(text, number);
        buf_append_char(text, ' ');
        buf_append_str(text, keyword);
        buf_append_char(text, '\n');
    }
}

static int end_folder(struct exporter *e, const struct mailbox *mailbox, struct str name)
{
    struct maildir *d = data_of(e);
    struct buf keywords = buf_make(FLAGS_KEYWORDS_OCTETS + 1024);
    size_t count = 0;
    for (size_t i = 0; i < d->keywords.len; i++) {
        count += d->keywords.data[i] == ' ';
    }
    if (count > MAILDIR_KEYWORDS) {
        fprintf(stderr,
                "veredus: %.*s has %zu keywords, a Maildir has room for %d: the rest is not in its files\n",
                STR_ARGS(name), count, MAILDIR_KEYWORDS);
    }
    export_each_keyword(d->keywords, UINT64_MAX, append_keyword, &keywords);
    int code = write_uidlist(d, mailbox);
    if (code == EX_OK && keywords.len > 0) {
        code = replace_file(d, "dovecot-keywords", &keywords);
    }
    buf_free(&keywords);
    close_folder(d);
    return code;
}

/* Version 2: the parts of a name are divided by tabs, each as it stands in the name of its directory. */
static int write_subscriptions(struct exporter *e, struct str names)
{
    struct maildir *d = data_of(e);
    struct str rest = names;
    struct str name;
    struct buf directory = buf_make(8192);
    struct buf text = buf_make(5 * names.len + 64); /* "&AC4-" for a dot */
    buf_append_lit(&text, "V\t2\n\n");
    while (str_split(&rest, '\n', &name)) {
        buf_clear(&directory);
        text.failed = (name.len > 0 && !maildir_folder_to(name, &directory)) || text.failed;
        for (size_t i = 1; i < directory.len; i++) {
            buf_append_char(&text, directory.data[i] == '.' ? '\t' : directory.data[i]);
        }
        buf_append_str(&text, name.len > 0 ? STR("\n") : STR_EMPTY);
    }
    buf_free(&directory);
    int code =
        open_folder(d, ".") ? replace_file(d, "subscriptions", &text) : export_failed(e, "subscriptions");
    close_folder(d);
    buf_free(&text);
    buf_free(&d->names);
    buf_free(&d->present);
    buf_free(&d->uidlist);
    mem_free(d);
    export_set_data(e, NULL);
    return code;
}

const struct export_format export_maildir = {.begin = begin_folder,
                                             .find = find_message,
                                             .message = write_message,
                                             .end = end_folder,
                                             .finish = write_subscriptions};
