/*
 * What `veredus dev` has instead of a configuration file: a directory, a configuration that catches every message, an
 * authority of its own, and the lines that say where it listens. Called by supervisor.c only.
 */
#include "roles/supervisor_private.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

static const struct dev_listener {
    const char *name;
    const char *kind;
    const char *tls;
    unsigned port;
    const char *words;
} dev_listeners[] = {
    {"mx", "mx", "starttls", 25, "SMTP, mail from other servers"},
    {"submission", "submission", "starttls", 587, "SMTP submission, STARTTLS and a login"},
    {"submissions", "submission", "implicit", 465, "SMTP submission, TLS and a login"},
    {"imap", "imap", "starttls", 143, "IMAP, STARTTLS and a login"},
    {"imaps", "imap", "implicit", 993, "IMAP, TLS and a login"},
    {"pop3", "pop3", "starttls", 110, "POP3, STLS and a login"},
    {"pop3s", "pop3", "implicit", 995, "POP3, TLS and a login"},
};

enum {
    DEV_LISTENERS = sizeof(dev_listeners) / sizeof(dev_listeners[0]),
    OPEN_DIRECTORIES = 16,
    WORDS_COLUMN = 30
};

static bool choose_directory(struct supervisor *s, struct buf *errors)
{
    const char *wanted = s->options->dev_dir;
    if (wanted != NULL) {
        if (mkdir(wanted, 0755) != 0 && errno != EEXIST) {
            buf_printf(errors, "cannot make %s: %s\n", wanted, strerror(errno));
            return false;
        }
        if (realpath(wanted, s->dev_dir) == NULL) {
            buf_printf(errors, "cannot use %s: %s\n", wanted, strerror(errno));
            return false;
        }
        return true;
    }
    const char *parent = getenv("TMPDIR");
    int n = snprintf(s->dev_dir, sizeof(s->dev_dir), "%s/veredus-dev-XXXXXX",
                     parent != NULL && parent[0] == '/' ? parent : "/tmp");
    if (n <= 0 || (size_t)n >= sizeof(s->dev_dir) || mkdtemp(s->dev_dir) == NULL) {
        buf_printf(errors, "cannot make a directory in %s: %s; choose one with --dir\n",
                   parent == NULL ? "/tmp" : parent, strerror(errno));
        return false;
    }
    s->temporary = true;
    return true;
}

/* A path inside quotes of the configuration. */
static void append_quoted(struct buf *text, const char *directory, const char *name)
{
    buf_append_char(text, '"');
    for (size_t i = 0; directory[i] != '\0'; i++) {
        if (directory[i] == '"' || directory[i] == '\\') {
            buf_append_char(text, '\\');
        }
        buf_append_char(text, directory[i]);
    }
    buf_printf(text, "%s\"\n", name);
}

static void write_config(struct supervisor *s)
{
    struct buf *text = &s->config_text;
    buf_append_lit(text, "hostname = localhost\ncatch_all_mail = true\n");
    buf_append_lit(text, "data_dir = ");
    append_quoted(text, s->dev_dir, "/data");
    buf_append_lit(text, "runtime_dir = ");
    append_quoted(text, s->dev_dir, "");
    buf_append_lit(text, "tls \"main\" {\n    certificate = ");
    append_quoted(text, s->dev_dir, "/certificate.pem");
    buf_append_lit(text, "    key = ");
    append_quoted(text, s->dev_dir, "/key.pem");
    buf_append_lit(text, "}\n");
    for (size_t i = 0; i < DEV_LISTENERS && !s->options->fence; i++) {
        const struct dev_listener *l = &dev_listeners[i];
        buf_printf(text,
                   "listener \"%s\" { kind = %s port = %u tls = %s address = {\"127.0.0.1\", \"::1\"} }\n",
                   l->name, l->kind, s->options->dev_port_base + l->port, l->tls);
    }
    /* One process a role: a development server is to be small. */
    buf_append_lit(text, "processes { smtpd_mx = 1 smtpd_msa = 1 imapd = 1 reader = 1 relay = 1 }\n");
    buf_append_lit(text, "dns { dnssec = false }\nstore { reserve = 16M segment_size = 64M }\n");
}

bool supervisor_dev_prepare(struct supervisor *s, struct buf *errors)
{
    if (!choose_directory(s, errors) || !supervisor_dev_certificates(s, errors)) {
        return false;
    }
    write_config(s);
    int n = snprintf(s->config_file, sizeof(s->config_file), "%s/veredus.conf", s->dev_dir);
    if (n <= 0 || (size_t)n >= sizeof(s->config_file) || !buf_ok(&s->config_text)) {
        buf_append_lit(errors, "the name of the directory is too long\n");
        return false;
    }
    /* The commands find the control socket through this file. */
    FILE *file = fopen(s->config_file, "we");
    bool fine =
        file != NULL && fwrite(s->config_text.data, 1, s->config_text.len, file) == s->config_text.len;
    if (file != NULL) {
        fine = fclose(file) == 0 && fine;
    }
    if (!fine) {
        buf_printf(errors, "cannot write %s: %s\n", s->config_file, strerror(errno));
    }
    return fine;
}

/* A line of JSON; nothing if the object could not be made. */
static void print_object(json_t *object)
{
    if (object != NULL && json_dumpf(object, stdout, JSON_COMPACT) == 0) {
        putchar('\n');
    }
    json_decref(object);
}

static void announce_listener(const struct supervisor *s, const char *name, const char *address,
                              unsigned port, const char *words)
{
    bool v6 = strchr(address, ':') != NULL;
    if (s->options->json) {
        print_object(json_pack("{s:s,s:s,s:i}", "listener", name, "address", address, "port", (int)port));
    } else {
        int width = printf("%-12s %s%s%s:%u", name, v6 ? "[" : "", address, v6 ? "]" : "", port);
        printf("%*s%s\n",
               words == NULL          ? 0
               : width < WORDS_COLUMN ? WORDS_COLUMN - width
                                      : 1,
               "", words == NULL ? "" : words);
    }
}

static void announce_path(const struct supervisor *s, const char *title, const char *name)
{
    char path[PATH_MAX_BYTES];
    int n = snprintf(path, sizeof(path), "%s%s", s->dev_dir, name);
    if (n <= 0 || (size_t)n >= sizeof(path)) {
        return;
    }
    if (s->options->json) {
        print_object(json_pack("{s:s}", title, path));
    } else {
        printf("%-12s %s\n", title, path);
    }
}

static void announce_dev(const struct supervisor *s)
{
    for (size_t i = 0; i < DEV_LISTENERS; i++) {
        announce_listener(s, dev_listeners[i].name, "localhost",
                          s->options->dev_port_base + dev_listeners[i].port, dev_listeners[i].words);
    }
    announce_path(s, "authority", "/ca.pem");
    announce_path(s, "directory", "");
}

void supervisor_announce(const struct supervisor *s)
{
    if (s->options->dev) {
        announce_dev(s);
    } else {
        for (size_t i = 0; i < s->listener_count; i++) {
            announce_listener(s, s->listeners[i].name, s->listeners[i].address, s->listeners[i].port, NULL);
        }
    }
    puts(s->options->json ? "{\"ready\":true}" : "ready");
    fflush(stdout);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)place;
    if (kind == FTW_F && S_ISREG(info->st_mode)) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        int flags = 0;
        if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_APPEND_FL) != 0) {
            flags &= ~FS_APPEND_FL;
            ioctl(fd, FS_IOC_SETFLAGS, &flags);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    remove(path);
    return 0;
}

void supervisor_dev_clean(struct supervisor *s)
{
    if (s->temporary && s->dev_dir[0] == '/') {
        nftw(s->dev_dir, remove_entry, OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS);
    }
}
