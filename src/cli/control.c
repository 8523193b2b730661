/* The commands' end of the control socket; see control.h. */
#include "cli/control.h"

#include "base/clock.h"
#include "base/mem.h"
#include "config/config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    TIMEOUT_S = 30,
    TIMEOUT_MAX_S = 86400,
    LINE_MAX_BYTES = 1 << 20,
    CONFIG_MAX = 4 << 20,
    PATH_BYTES = 4096,
    ERRORS_SHOWN = 3000
};

#define STANDARD_SOCKET "/run/veredus/control"

struct control {
    const struct cli_input *input;
    int fd;
    int passed_fd; /* to go with the next request; -1: none */
    uint64_t timeout_ms;
    char path[PATH_BYTES];
    struct buf in;
    size_t used; /* of `in`: the lines read already */
};

/* Which socket. */

int control_load_config(const struct cli_input *input, const char *name, struct config **config)
{
    struct buf text = buf_make(CONFIG_MAX);
    struct buf errors = buf_make(CONFIG_MAX);
    FILE *file = fopen(name, "re");
    if (file == NULL) {
        return cli_fail(
            input, EX_NOINPUT,
            "name the server's configuration with -c FILE, or the directory of `veredus dev` with "
            "--dir DIR",
            "cannot open %s: %s", name, strerror(errno));
    }
    char chunk[8192];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buf_append(&text, chunk, n);
    }
    fclose(file);
    int code = EX_OK;
    if (!buf_ok(&text) || !config_parse(buf_str(&text), name, config, &errors)) {
        size_t len = errors.len > 0 && errors.data[errors.len - 1] == '\n' ? errors.len - 1 : errors.len;
        code = cli_fail(
            input, EX_CONFIG,
            "correct them (`veredus config check` looks again); a server that runs goes on with the "
            "configuration that it has, and can be reached with VEREDUS_CONTROL=PATH in the environment "
            "instead "
            "of -c",
            "%s has errors:\n%.*s", name, (int)(len < ERRORS_SHOWN ? len : ERRORS_SHOWN), errors.data);
    }
    buf_free(&text);
    buf_free(&errors);
    return code;
}

static int path_from_config(const struct cli_input *input, const char *name, char path[PATH_BYTES])
{
    struct config *config = NULL;
    int code = control_load_config(input, name, &config);
    if (config != NULL) {
        snprintf(path, PATH_BYTES, "%.*s/control", STR_ARGS(config->runtime_dir));
    }
    config_unref(config);
    return code;
}

static int find_path(const struct cli_input *input, char path[PATH_BYTES])
{
    const char *dir = cli_option_value(input, "--dir");
    const char *config = cli_option_value(input, "--config");
    const char *environment = getenv("VEREDUS_CONTROL");
    if (dir != NULL && config != NULL) {
        return cli_fail(input, EX_USAGE,
                        "give -c for a server of `veredus serve`, --dir for one of `veredus dev`",
                        "both -c and --dir are given");
    }
    if (dir != NULL) {
        snprintf(path, PATH_BYTES, "%s/control", dir);
        return EX_OK;
    }
    if (config != NULL) {
        return path_from_config(input, config, path);
    }
    if (environment != NULL && environment[0] != '\0') {
        snprintf(path, PATH_BYTES, "%s", environment);
        return EX_OK;
    }
    if (access(CLI_CONFIG_FILE, F_OK) == 0) {
        return path_from_config(input, CLI_CONFIG_FILE, path);
    }
    snprintf(path, PATH_BYTES, STANDARD_SOCKET);
    return EX_OK;
}

static int no_connection(const struct control *control, int error)
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
    case ENOTDIR:
        return cli_fail(
            control->input, EX_UNAVAILABLE,
            "start it with `veredus serve` or `veredus dev --dir DIR`, or name another one with -c FILE or "
            "--dir DIR",
            "the server is not running: nothing listens on %s", control->path);
    case EACCES:
    case EPERM:
        return cli_fail(control->input, EX_NOPERM,
                        "run the command as root or as the user that started the server",
                        "this user may not use the control socket %s", control->path);
    default:
        return cli_fail(control->input, EX_TEMPFAIL, "try again in a moment", "cannot connect to %s: %s",
                        control->path, strerror(error));
    }
}

static int connect_to(struct control *control)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct str path = str_of(control->path);
    if (path.len >= sizeof(address.sun_path)) {
        return cli_fail(control->input, EX_USAGE,
                        "use a shorter path, or change to the directory and give a relative one",
                        "the path of the control socket is too long: %s", control->path);
    }
    memcpy(address.sun_path, path.data, path.len);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (control->fd < 0) {
        return cli_fail(control->input, EX_OSERR, NULL, "cannot make a socket: %s", strerror(errno));
    }
    return connect(control->fd, (struct sockaddr *)&address, sizeof(address)) == 0
               ? EX_OK
               : no_connection(control, errno);
}

struct control *control_open(const struct cli_input *input, int *code)
{
    uint64_t timeout = TIMEOUT_S;
    struct control *control = mem_new(struct control);
    if (control == NULL) {
        *code = cli_fail(input, EX_OSERR, NULL, "there is not enough memory");
        return NULL;
    }
    control->input = input;
    control->fd = -1;
    control->passed_fd = -1;
    control->in = buf_make(2 * LINE_MAX_BYTES);
    *code = cli_option_number(input, "--timeout", 1, TIMEOUT_MAX_S, &timeout) ? EX_OK : EX_USAGE;
    control->timeout_ms = timeout * 1000;
    if (*code == EX_OK) {
        *code = find_path(input, control->path);
    }
    if (*code == EX_OK) {
        *code = connect_to(control);
    }
    if (*code != EX_OK) {
        control_close(control);
        return NULL;
    }
    return control;
}

void control_close(struct control *control)
{
    if (control != NULL) {
        if (control->fd >= 0) {
            close(control->fd);
        }
        buf_free(&control->in);
        mem_free(control);
    }
}

/* Bytes. */

static int lost(const struct control *control, const char *why)
{
    return cli_fail(
        control->input, EX_TEMPFAIL,
        "the command may or may not have been carried out: look before you repeat it; the server's log lines "
        "tell more",
        "the server did not answer: %s", why);
}

/* Waits until the socket is ready for `events`. */
static int wait_for(const struct control *control, short events)
{
    uint64_t end = clock_monotonic_ms() + control->timeout_ms;
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        struct pollfd poll_fd = {.fd = control->fd, .events = events};
        int n = poll(&poll_fd, 1, now >= end ? 0 : (int)(end - now));
        if (n > 0) {
            return EX_OK;
        }
        if (n == 0 && clock_monotonic_ms() >= end) {
            char why[64];
            snprintf(why, sizeof(why), "%llu seconds have passed",
                     (unsigned long long)control->timeout_ms / 1000);
            return lost(control, why);
        }
        if (n < 0 && errno != EINTR) {
            return lost(control, strerror(errno));
        }
    }
}

void control_pass(struct control *control, int fd)
{
    control->passed_fd = fd;
}

/* Sends what the socket takes now, with the descriptor if there is one to pass. */
static ssize_t send_part(struct control *control, char *text, size_t len)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } area;
    struct iovec part = {text, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (control->passed_fd >= 0) {
        message.msg_control = area.bytes;
        message.msg_controllen = sizeof(area);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(header), &control->passed_fd, sizeof(int));
    }
    ssize_t n = sendmsg(control->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        control->passed_fd = -1;
    }
    return n;
}

static int send_request(struct control *control, const char *command, json_t *arguments)
{
    json_t *request = arguments == NULL ? json_pack("{s:s}", "command", command)
                                        : json_pack("{s:s,s:o}", "command", command, "arguments", arguments);
    char *text = request == NULL ? NULL : json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (text == NULL) {
        return cli_fail(control->input, EX_DATAERR, "use UTF-8", "an argument is not valid UTF-8");
    }
    size_t len = strlen(text);
    size_t sent = 0;
    text[len] = '\n'; /* instead of the NUL */
    int code = EX_OK;
    while (sent < len + 1 && code == EX_OK) {
        ssize_t n = send_part(control, text + sent, len + 1 - sent);
        if (n > 0) {
            sent += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            code = wait_for(control, POLLOUT);
        } else if (n < 0 && errno != EINTR) {
            /* A refusal may have come before the request was read. */
            break;
        }
    }
    explicit_bzero(text, len);
    free(text);
    return code;
}

/* The next line of the answer. */
static int read_line(struct control *control, struct str *line)
{
    buf_consume(&control->in, control->used);
    control->used = 0;
    for (;;) {
        size_t end = str_find(buf_str(&control->in), 0, '\n');
        if (end != SIZE_MAX) {
            *line = str_make(control->in.data, end);
            control->used = end + 1;
            return EX_OK;
        }
        if (control->in.len > LINE_MAX_BYTES) {
            return cli_fail(control->input, EX_PROTOCOL, NULL,
                            "the server's answer is no answer to a command");
        }
        int code = wait_for(control, POLLIN);
        if (code != EX_OK) {
            return code;
        }
        char *room = buf_reserve(&control->in, 65536);
        ssize_t n = room == NULL ? 0 : recv(control->fd, room, 65536, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            return lost(control, n == 0 ? "it has closed the connection" : strerror(errno));
        }
        control->in.len += n > 0 ? (size_t)n : 0;
    }
}

static int report_error(const struct control *control, const json_t *error)
{
    int code = (int)json_integer_value(json_object_get(error, "code"));
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *advice = json_string_value(json_object_get(error, "advice"));
    if (code < EX__BASE || code > EX__MAX) {
        code = EX_SOFTWARE;
    }
    return cli_fail(control->input, code, advice, "%s", message == NULL ? "the command failed" : message);
}

int control_call(struct control *control, const char *command, json_t *arguments,
                 void (*row)(void *context, json_t *row), void *context, json_t **done)
{
    int code = send_request(control, command, arguments);
    bool more = true;
    while (code == EX_OK && more) {
        struct str line = STR_EMPTY;
        code = read_line(control, &line);
        if (code != EX_OK) {
            break;
        }
        json_t *answer = json_loadb(line.data, line.len, 0, NULL);
        json_t *found = json_object_get(answer, "row");
        if (found != NULL) {
            if (row != NULL) {
                row(context, found);
            }
        } else if ((found = json_object_get(answer, "error")) != NULL) {
            code = report_error(control, found);
        } else if (json_is_true(json_object_get(answer, "done"))) {
            more = false;
            if (done != NULL) {
                *done = json_incref(answer);
            }
        } else {
            code =
                cli_fail(control->input, EX_PROTOCOL, NULL, "the server's answer is no answer to a command");
        }
        json_decref(answer);
    }
    return code;
}

int control_once(const struct cli_input *input, const char *command, json_t *arguments,
                 void (*row)(void *context, json_t *row), void *context, json_t **done)
{
    int code;
    struct control *control = control_open(input, &code);
    if (control == NULL) {
        json_decref(arguments);
        return code;
    }
    code = control_call(control, command, arguments, row, context, done);
    control_close(control);
    return code;
}
