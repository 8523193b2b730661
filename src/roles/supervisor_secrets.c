/*
 * The data directory and the secrets: made, opened, checked, and passed on as descriptors. The supervisor never reads a
 * private key itself. Called by supervisor.c only.
 */
#include "roles/supervisor_private.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/random.h"
#include "roles/policy.h"
#include "tls/selfsigned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_SIZE = 32, TICKET_KEY_SIZE = 80, SECRET_MAX = 1 << 20 };

static bool complain(struct buf *errors, const char *what, const char *path)
{
    buf_printf(errors, "%s %s: %s\n", what, path, strerror(errno));
    return false;
}

/* Makes each directory on the way that is missing. */
static bool make_directories(const char *path, mode_t mode)
{
    char partial[PATH_MAX_BYTES];
    size_t len = strlen(path);
    if (len >= sizeof(partial)) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (size_t i = 1; i <= len; i++) {
        if (path[i] == '/' || path[i] == '\0') {
            memcpy(partial, path, i);
            partial[i] = '\0';
            if (mkdir(partial, path[i] == '\0' ? mode : 0755) != 0 && errno != EEXIST) {
                return false;
            }
        }
    }
    return true;
}

/* A path below another; false if it is too long. */
static bool join(char out[PATH_MAX_BYTES], const char *directory, const char *name)
{
    int n = snprintf(out, PATH_MAX_BYTES, "%s/%s", directory, name);
    return n > 0 && n < PATH_MAX_BYTES;
}

/* Writes a new file and makes sure that it stays; false, with errno, also if it exists. */
static bool create_file(const char *path, mode_t mode, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        return false;
    }
    bool fine = io_write_all(fd, str_make(data, len)) && fsync(fd) == 0;
    close(fd);
    if (!fine) {
        int error = errno;
        unlink(path);
        errno = error;
    }
    return fine;
}

static bool make_secret(const struct supervisor *s, const char *name, struct buf *errors)
{
    char path[PATH_MAX_BYTES];
    unsigned char secret[SECRET_SIZE];
    struct stat info;
    if (!join(path, s->keys_dir, name)) {
        errno = ENAMETOOLONG;
        return complain(errors, "cannot use", s->keys_dir);
    }
    if (stat(path, &info) == 0) {
        if (info.st_size == SECRET_SIZE) {
            return true;
        }
        buf_printf(errors, "%s is damaged: it should have %d bytes; restore it from a backup\n", path,
                   SECRET_SIZE);
        return false;
    }
    random_bytes(secret, sizeof(secret));
    bool fine = create_file(path, 0600, secret, sizeof(secret));
    explicit_bzero(secret, sizeof(secret));
    return fine || complain(errors, "cannot make", path);
}

static bool take_lock(struct supervisor *s, const char *data_dir, struct buf *errors)
{
    char path[PATH_MAX_BYTES];
    if (!join(path, data_dir, "lock")) {
        return false;
    }
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0) {
        return complain(errors, "cannot open", path);
    }
    bool locked = flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0;
    for (int tries = 0; !locked && tries < SUPERVISOR_TRIES; tries++) {
        usleep(SUPERVISOR_PAUSE_US);
        locked = flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0;
    }
    if (!locked) {
        /* Who has no lock leaves everything alone, its end included: the socket and the pid file are the other's. */
        close(s->lock_fd);
        s->lock_fd = -1;
        buf_printf(errors, "another Veredus is running on %s; stop it first, or use another data_dir\n",
                   data_dir);
        return false;
    }
    return true;
}

/* In data_dir, as the store's user, who may have no way to it from the root. False with errno. */
static bool make_as_store(uint32_t uid, int data_dir)
{
    bool fine = policy_act_as(uid, uid) && (mkdirat(data_dir, "store", 0750) == 0 || errno == EEXIST) &&
                (mkdirat(data_dir, "store/segments", 0750) == 0 || errno == EEXIST);
    int error = errno;
    fine = (uid == 0 || policy_act_as_starter()) && fine;
    errno = error;
    return fine;
}

/*
 * The store's directories are made by its user: to give them away would take a right over all files. For that moment the directory
 * above is open to the store's group. False with errno.
 */
static bool make_both(uint32_t uid, int data_dir)
{
    struct stat before;
    struct stat info;
    if (uid == 0 || fstatat(data_dir, "store", &info, 0) == 0) {
        return make_as_store(uid, data_dir);
    }
    if (fstat(data_dir, &before) != 0) {
        return false;
    }
    bool fine = setegid(uid) == 0 && fchown(data_dir, (uid_t)-1, uid) == 0 && fchmod(data_dir, 0775) == 0 &&
                make_as_store(uid, data_dir);
    int error = errno;
    fine = setegid(getgid()) == 0 && fchmod(data_dir, before.st_mode & 07777) == 0 &&
           fchown(data_dir, (uid_t)-1, before.st_gid) == 0 && fine;
    errno = error;
    return fine;
}

static bool make_store_directory(struct supervisor *s, const char *data_dir, struct buf *errors)
{
    uint32_t uid = supervisor_uid(s, ROLE_STORE);
    struct stat info;
    /* A directory that is there may have come out of a backup, as somebody else's. */
    if (s->gives_users && stat(s->store_dir, &info) == 0 && info.st_uid != uid &&
        (chown(s->store_dir, uid, uid) != 0 || chmod(s->store_dir, 0750) != 0)) {
        buf_printf(errors,
                   "%s belongs to user id %u and not to the store, which is %u: run chown -R %u:%u on it\n",
                   s->store_dir, (unsigned)info.st_uid, uid, uid, uid);
        return false;
    }
    int fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && make_both(uid, fd);
    if (!fine) {
        complain(errors, "cannot make", s->store_dir);
    }
    if (fd >= 0) {
        close(fd);
    }
    return fine;
}

bool supervisor_prepare_data(struct supervisor *s, struct buf *errors)
{
    char data_dir[PATH_MAX_BYTES];
    int n = snprintf(data_dir, sizeof(data_dir), "%.*s", STR_ARGS(s->config->data_dir));
    int m = snprintf(s->run_dir, sizeof(s->run_dir), "%.*s", STR_ARGS(s->config->runtime_dir));
    if (n <= 0 || m <= 0 || !join(s->store_dir, data_dir, "store") || !join(s->keys_dir, data_dir, "keys")) {
        buf_append_lit(errors, "data_dir or runtime_dir is too long\n");
        return false;
    }
    if (!make_directories(data_dir, 0755)) {
        return complain(errors, "cannot make", data_dir);
    }
    if (!make_directories(s->run_dir, 0755)) {
        return complain(errors, "cannot make", s->run_dir);
    }
    if (!take_lock(s, data_dir, errors)) {
        return false;
    }
    if (mkdir(s->keys_dir, 0700) != 0 && errno != EEXIST) {
        return complain(errors, "cannot make", s->keys_dir);
    }
    if (!make_secret(s, "pepper", errors) || !make_secret(s, "grant.key", errors) ||
        !make_store_directory(s, data_dir, errors)) {
        return false;
    }
    for (size_t kind = 0; kind < ROLE_KINDS; kind++) {
        random_bytes(s->ticket_keys[kind], TICKET_KEY_SIZE);
    }
    return true;
}

/* Passing them on. */

static int open_secret(struct str path, bool is_private, struct buf *errors)
{
    char name[PATH_MAX_BYTES];
    struct stat info;
    int n = snprintf(name, sizeof(name), "%.*s", STR_ARGS(path));
    int fd = n > 0 && n < PATH_MAX_BYTES ? open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
    if (fd < 0) {
        complain(errors, "cannot open", name);
        return -1;
    }
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        buf_printf(errors, "%s is not a file\n", name);
    } else if (is_private && (info.st_mode & 0007) != 0) {
        buf_printf(errors, "%s can be read by everybody: run chmod o-rwx on it, and consider it known\n",
                   name);
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

/* Its content as a file in memory; -1 with errno. The kernel copies: this process never has keys in its memory. */
static int copy_of(int fd)
{
    int copy = memfd_create("secret", MFD_CLOEXEC);
    size_t octets = 0;
    ssize_t n = copy < 0 ? -1 : 1;
    while (n > 0 && octets <= SECRET_MAX) {
        do {
            n = sendfile(copy, fd, NULL, SECRET_MAX);
        } while (n < 0 && errno == EINTR);
        octets += n > 0 ? (size_t)n : 0;
    }
    if (n == 0) {
        return copy;
    }
    int reason = n < 0 ? errno : EFBIG;
    if (copy >= 0) {
        close(copy);
    }
    errno = reason;
    return -1;
}

/* A role reads its copy when it comes to it: a certificate that is written anew meanwhile reaches all roles or none. */
static bool send_file(struct child *child, enum secret_kind kind, struct str name, struct str path,
                      bool is_private, struct buf *errors)
{
    int fd = open_secret(path, is_private, errors);
    if (fd < 0) {
        return false;
    }
    int copy = copy_of(fd);
    if (copy < 0) {
        buf_printf(errors, "cannot copy %.*s: %s\n", STR_ARGS(path), strerror(errno));
    }
    close(fd);
    if (copy < 0) {
        return false;
    }
    struct control_secret message = {.kind = (uint8_t)kind, .name = name};
    return channel_send_fd(child->control, &control_secret_type, &message, copy);
}

static bool send_own_secret(struct supervisor *s, struct child *child, enum secret_kind kind,
                            const char *name, struct buf *errors)
{
    char path[PATH_MAX_BYTES];
    return join(path, s->keys_dir, name) && send_file(child, kind, STR_EMPTY, str_of(path), true, errors);
}

static bool send_ticket_key(struct supervisor *s, struct child *child)
{
    int fd = memfd_create("ticket key", MFD_CLOEXEC);
    if (fd < 0 || !io_write_all(fd, str_make(s->ticket_keys[child->kind], TICKET_KEY_SIZE))) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    struct control_secret message = {.kind = SECRET_TICKET_KEY, .name = STR_EMPTY};
    return channel_send_fd(child->control, &control_secret_type, &message, fd);
}

static bool send_certificates(struct supervisor *s, struct child *child, struct buf *errors)
{
    bool fine = true;
    for (size_t i = 0; i < s->config->tls_count; i++) {
        const struct config_tls *tls = &s->config->tls[i];
        fine = send_file(child, SECRET_TLS_CERTIFICATE, tls->name, tls->certificate, false, errors) && fine;
    }
    return fine;
}

static bool send_keys(struct supervisor *s, struct child *child, struct buf *errors)
{
    bool fine = send_own_secret(s, child, SECRET_PEPPER, "pepper", errors) &&
                send_own_secret(s, child, SECRET_GRANT_KEY, "grant.key", errors);
    for (size_t i = 0; i < s->config->tls_count; i++) {
        const struct config_tls *tls = &s->config->tls[i];
        fine = send_file(child, SECRET_TLS_KEY, tls->name, tls->key, true, errors) && fine;
    }
    for (size_t i = 0; i < s->config->route_count; i++) {
        const struct config_route *route = &s->config->routes[i];
        if (route->password_file.len > 0) {
            fine =
                send_file(child, SECRET_ROUTE_PASSWORD, route->domain, route->password_file, true, errors) &&
                fine;
        }
    }
    return fine;
}

bool supervisor_send_secrets(struct supervisor *s, struct child *child, struct buf *errors)
{
    switch (child->kind) {
    case ROLE_KEYS: return send_keys(s, child, errors);
    case ROLE_SMTPD_MX:
    case ROLE_SMTPD_MSA:
    case ROLE_IMAPD: return send_certificates(s, child, errors) && send_ticket_key(s, child);
    case ROLE_STORE:
    case ROLE_READER: return send_own_secret(s, child, SECRET_GRANT_KEY, "grant.key", errors);
    case ROLE_RELAY:
        return s->config->relay.ca_file.len == 0 || access(s->config->relay.ca_file.data, R_OK) != 0 ||
               send_file(child, SECRET_CA_BUNDLE, STR_EMPTY, s->config->relay.ca_file, false, errors);
    default: return true;
    }
}

bool supervisor_check_secrets(struct supervisor *s, const struct config *config, struct buf *errors)
{
    (void)s;
    bool fine = true;
    for (size_t i = 0; i < config->tls_count; i++) {
        int certificate = open_secret(config->tls[i].certificate, false, errors);
        int key = open_secret(config->tls[i].key, true, errors);
        fine = fine && certificate >= 0 && key >= 0;
        if (certificate >= 0) {
            close(certificate);
        }
        if (key >= 0) {
            close(key);
        }
    }
    for (size_t i = 0; i < config->route_count; i++) {
        if (config->routes[i].password_file.len > 0) {
            int fd = open_secret(config->routes[i].password_file, true, errors);
            fine = fine && fd >= 0;
            if (fd >= 0) {
                close(fd);
            }
        }
    }
    return fine;
}

bool supervisor_dev_certificates(struct supervisor *s, struct buf *errors)
{
    static const struct {
        const char *name;
        mode_t mode;
    } files[] = {{"ca.pem", 0644}, {"certificate.pem", 0644}, {"key.pem", 0600}};
    char paths[3][PATH_MAX_BYTES];
    size_t present = 0;
    for (size_t i = 0; i < 3; i++) {
        struct stat info;
        if (!join(paths[i], s->dev_dir, files[i].name)) {
            return false;
        }
        present += stat(paths[i], &info) == 0;
    }
    if (present == 3) {
        return true;
    }
    struct buf texts[3] = {buf_make(65536), buf_make(65536), buf_make(65536)};
    bool fine = selfsigned_make(STR("localhost"), clock_wall_ms(), &texts[0], &texts[1], &texts[2]);
    if (!fine) {
        buf_append_lit(errors, "cannot make a certificate for the development server\n");
    }
    for (size_t i = 0; i < 3 && fine; i++) {
        unlink(paths[i]);
        fine = create_file(paths[i], files[i].mode, texts[i].data, texts[i].len) ||
               complain(errors, "cannot make", paths[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        buf_wipe(&texts[i]);
    }
    return fine;
}
