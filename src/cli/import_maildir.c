/*
 * Maildir and Maildir++ for `veredus import`: the directory itself is INBOX, ".Name" directories in it are the other
 * mailboxes. With Dovecot's dovecot-uidlist, dovecot-keywords and subscriptions UIDs, keywords and subscriptions are kept.
 */
#include "base/mem.h"
#include "cli/import.h"
#include "message/maildir.h"
#include "store/flags.h"
#include "store/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LIST_MAX = 1 << 30 };

/* A message's file. Its names lie in the folder's `names`. */
struct file {
    size_t name_at;
    uint32_t name_len;
    uint32_t unique_len;
    uint32_t uid;
    bool is_new; /* in "new" */
};

struct folder {
    struct importer *importer;
    char path[PATH_BYTES];
    struct buf names;
    struct buf files; /* struct file */
    struct buf uids;  /* struct listed */
    struct buf list;  /* the text of dovecot-uidlist */
    struct maildir_uidlist uidlist;
    struct str keywords[MAILDIR_KEYWORDS];
    struct buf keywords_text;
    struct buf text; /* of a message */
};

/* A line of dovecot-uidlist. */
struct listed {
    struct str unique;
    uint32_t uid;
};

/* Reads a whole file; false with errno. */
static bool read_file(int directory, const char *name, size_t limit, struct buf *out, struct stat *info)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : 1;
    if (fd >= 0 && (fstat(fd, info) != 0 || !S_ISREG(info->st_mode) || (uint64_t)info->st_size > limit)) {
        errno = EFBIG;
        n = -1;
    }
    while (n > 0) {
        char *room = buf_reserve(out, 65536);
        n = room == NULL ? -1 : read(fd, room, 65536);
        out->len += n > 0 ? (size_t)n : 0;
    }
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return n == 0;
}

/* A file that need not be there; where it is but cannot be read, what is lost by that is told. */
static bool read_beside(const struct folder *f, const char *name, const char *lost, struct buf *out)
{
    struct stat info;
    int directory = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = directory >= 0 && read_file(directory, name, LIST_MAX, out, &info);
    if (!fine && errno != ENOENT) {
        import_left_out(f->importer, f->path, lost);
    }
    if (directory >= 0) {
        close(directory);
    }
    return fine;
}

/* What Dovecot knows of the folder. */

static int by_unique(const void *a, const void *b)
{
    return str_compare(((const struct listed *)a)->unique, ((const struct listed *)b)->unique);
}

static void read_uidlist(struct folder *f)
{
    struct str rest;
    struct str line;
    struct listed listed;
    f->uidlist = (struct maildir_uidlist){.version = 0};
    if (!read_beside(f, "dovecot-uidlist", "dovecot-uidlist cannot be read; UIDs will be new", &f->list)) {
        return;
    }
    rest = buf_str(&f->list);
    if (!str_split(&rest, '\n', &line) || !maildir_uidlist_header(line, &f->uidlist)) {
        import_left_out(f->importer, f->path,
                        "dovecot-uidlist is of a version that is not known; UIDs will be new");
        f->uidlist = (struct maildir_uidlist){.version = 0};
        return;
    }
    while (str_split(&rest, '\n', &line)) {
        if (maildir_uidlist_entry(&f->uidlist, line, &listed.uid, &listed.unique)) {
            buf_append(&f->uids, &listed, sizeof(listed));
        }
    }
    if (f->uids.len > 0) {
        qsort(f->uids.data, f->uids.len / sizeof(listed), sizeof(listed), by_unique);
    }
}

static void read_keywords(struct folder *f)
{
    struct str rest;
    struct str line;
    unsigned letter;
    struct str name;
    memset(f->keywords, 0, sizeof(f->keywords));
    if (!read_beside(f, "dovecot-keywords", "dovecot-keywords cannot be read; keywords will be missing",
                     &f->keywords_text)) {
        return;
    }
    rest = buf_str(&f->keywords_text);
    while (str_split(&rest, '\n', &line)) {
        if (maildir_keyword(line, &letter, &name)) {
            f->keywords[letter] = name;
        }
    }
}

static uint32_t uid_of(const struct folder *f, struct str unique)
{
    struct listed key = {.unique = unique};
    const struct listed *found =
        f->uids.len == 0 ? NULL
                         : bsearch(&key, f->uids.data, f->uids.len / sizeof(key), sizeof(key), by_unique);
    return found == NULL ? 0 : found->uid;
}

/* Files. */

static bool list_files(struct folder *f, const char *below, bool is_new)
{
    char path[PATH_BYTES + 8];
    snprintf(path, sizeof(path), "%s/%s", f->path, below);
    DIR *directory = opendir(path);
    const struct dirent *entry;
    if (directory == NULL) {
        return errno == ENOENT;
    }
    while ((entry = readdir(directory)) != NULL) {
        struct str name = str_of(entry->d_name);
        if (name.len == 0 || name.data[0] == '.') {
            continue;
        }
        struct maildir_name parts = maildir_name_read(name);
        struct file file = {.name_at = f->names.len,
                            .name_len = (uint32_t)name.len,
                            .unique_len = (uint32_t)parts.unique.len,
                            .uid = uid_of(f, parts.unique),
                            .is_new = is_new};
        buf_append_str(&f->names, name);
        buf_append_char(&f->names, '\0');
        buf_append(&f->files, &file, sizeof(file));
    }
    closedir(directory);
    return buf_ok(&f->names) && buf_ok(&f->files);
}

static const struct folder *sorted;

/* Those with a UID first, in its order; then the others as their names have it, which begin with the time. */
static int by_uid(const void *a, const void *b)
{
    const struct file *x = a;
    const struct file *y = b;
    if (x->uid != y->uid) {
        return x->uid - 1 < y->uid - 1 ? -1 : 1;
    }
    return strcmp(sorted->names.data + x->name_at, sorted->names.data + y->name_at);
}

static uint64_t flags_from(const struct folder *f, struct str letters, struct buf *keywords)
{
    static const struct {
        char letter;
        uint64_t flag;
    } known[] = {
        {'D', FLAG_DRAFT}, {'F', FLAG_FLAGGED}, {'R', FLAG_ANSWERED}, {'S', FLAG_SEEN}, {'T', FLAG_DELETED}};
    uint64_t flags = 0;
    for (size_t i = 0; i < letters.len; i++) {
        char c = letters.data[i];
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
            flags |= c == known[k].letter ? known[k].flag : 0;
        }
        if (c == 'P') {
            buf_append_lit(keywords, "$Forwarded ");
        } else if (c >= 'a' && c <= 'z' && f->keywords[c - 'a'].len > 0) {
            buf_append_str(keywords, f->keywords[c - 'a']);
            buf_append_char(keywords, ' ');
        }
    }
    return flags;
}

static int import_file(struct folder *f, const struct file *file, int directory, uint64_t total)
{
    struct stat info;
    const char *name = f->names.data + file->name_at;
    struct maildir_name parts = maildir_name_read(str_make(name, file->name_len));
    buf_clear(&f->text);
    if (!read_file(directory, name, RECORD_TOTAL_MAX - 4096, &f->text, &info)) {
        char full[2 * PATH_BYTES];
        snprintf(full, sizeof(full), "%s/%s/%s", f->path, file->is_new ? "new" : "cur", name);
        import_left_out(f->importer, full, strerror(errno));
        return EX_OK;
    }
    struct buf keywords = buf_make(FLAGS_KEYWORDS_OCTETS);
    struct import_message message = {.text = buf_str(&f->text),
                                     .source = parts.unique,
                                     .uid = file->uid,
                                     .flags = flags_from(f, parts.flags, &keywords),
                                     .keywords = buf_str(&keywords),
                                     .seconds = info.st_mtime,
                                     .named_seconds = (int64_t)maildir_name_seconds(parts.unique)};
    int code = import_add(f->importer, &message, total);
    buf_free(&keywords);
    return code;
}

static int import_files(struct folder *f)
{
    size_t count = f->files.len / sizeof(struct file);
    char path[PATH_BYTES + 8];
    int directories[2];
    int code = EX_OK;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", f->path, i == 0 ? "cur" : "new");
        directories[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    for (size_t i = 0; i < count && code == EX_OK; i++) {
        struct file file;
        memcpy(&file, f->files.data + i * sizeof(file), sizeof(file));
        code = import_file(f, &file, directories[file.is_new], count);
    }
    for (int i = 0; i < 2; i++) {
        if (directories[i] >= 0) {
            close(directories[i]);
        }
    }
    return code;
}

static void clear_folder(struct folder *f)
{
    buf_free(&f->names);
    buf_free(&f->files);
    buf_free(&f->uids);
    buf_free(&f->list);
    buf_free(&f->keywords_text);
}

static int import_folder(struct folder *f, struct str name, bool subscribe)
{
    read_uidlist(f);
    read_keywords(f);
    int code = EX_OK;
    if (!list_files(f, "cur", false) || !list_files(f, "new", true)) {
        code = cli_fail(import_input(f->importer), EX_NOINPUT, "run the import as a user who may read it",
                        "cannot read the folder %s: %s", f->path, strerror(errno));
    }
    if (code == EX_OK && f->files.len > 0) {
        sorted = f;
        qsort(f->files.data, f->files.len / sizeof(struct file), sizeof(struct file), by_uid);
    }
    if (code == EX_OK) {
        code = import_mailbox(f->importer, name, f->uidlist.uid_validity, f->uidlist.uid_next, subscribe);
    }
    if (code == EX_OK) {
        code = import_files(f);
    }
    if (code == EX_OK) {
        code = import_finish_mailbox(f->importer);
    }
    clear_folder(f);
    return code;
}

/* Folders. */

/*
 * Whether a folder is in Dovecot's list of subscriptions: a name a line, as that of its directory has it, or, from version 2
 * on, its parts divided by tabs. Without a list every folder is.
 */
static bool is_subscribed(struct str list, bool there_is, struct str name)
{
    struct str rest = list;
    struct str line;
    while (str_split(&rest, '\n', &line)) {
        struct buf directory = buf_make(8192);
        struct buf found = buf_make(4096);
        buf_append_char(&directory, '.');
        for (size_t i = 0; i < line.len; i++) {
            buf_append_char(&directory, line.data[i] == '\t' || line.data[i] == '/' ? '.' : line.data[i]);
        }
        bool same = maildir_folder_from(buf_str(&directory), &found) && str_equal(buf_str(&found), name);
        buf_free(&directory);
        buf_free(&found);
        if (same) {
            return true;
        }
    }
    return !there_is;
}

static bool is_self(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int import_entry(struct folder *f, const char *directory, struct str subscriptions, bool there_are)
{
    struct buf name = buf_make(4096);
    int code = EX_OK;
    if (!import_is_maildir(f->path)) {
        if (errno != ENOENT && errno != ENOTDIR) {
            import_left_out(f->importer, f->path, strerror(errno));
        }
    } else if (maildir_folder_from(str_of(directory), &name)) {
        code = import_folder(f, buf_str(&name), is_subscribed(subscriptions, there_are, buf_str(&name)));
    } else {
        import_left_out(f->importer, f->path, "this is no name of a folder");
    }
    buf_free(&name);
    return code;
}

static int import_below(struct folder *f, const char *path)
{
    struct dirent **entries = NULL;
    struct buf list = buf_make(16 << 20);
    snprintf(f->path, sizeof(f->path), "%s", path);
    bool there_is = read_beside(f, "subscriptions",
                                "subscriptions cannot be read; all folders will be subscribed", &list);
    int count;
    int code = import_list(f->importer, path, &entries, &count);
    for (int i = 0; i < count; i++) {
        const char *directory = entries[i]->d_name;
        snprintf(f->path, sizeof(f->path), "%s/%s", path, directory);
        if (code == EX_OK && directory[0] == '.' && !is_self(directory)) {
            code = import_entry(f, directory, buf_str(&list), there_is);
        }
        free(entries[i]);
    }
    free(entries);
    buf_free(&list);
    return code;
}

int import_maildir(struct importer *importer, const char *path, const char *mailbox)
{
    struct folder *f = mem_new(struct folder);
    if (f == NULL || strlen(path) > PATH_BYTES - 300 || !import_is_maildir(path)) {
        mem_free(f);
        return cli_fail(import_input(importer), EX_NOINPUT,
                        "name the directory that has cur, new and tmp in it", "%s is no Maildir", path);
    }
    f->importer = importer;
    f->names = buf_make(LIST_MAX);
    f->files = buf_make(LIST_MAX);
    f->uids = buf_make(LIST_MAX);
    f->list = buf_make(LIST_MAX);
    f->keywords_text = buf_make(1 << 20);
    f->text = buf_make(RECORD_TOTAL_MAX);
    snprintf(f->path, sizeof(f->path), "%s", path);
    int code = import_folder(f, mailbox == NULL ? STR("INBOX") : str_of(mailbox), mailbox != NULL);
    if (code == EX_OK && mailbox == NULL) {
        code = import_below(f, path);
    }
    buf_free(&f->text);
    mem_free(f);
    return code;
}
