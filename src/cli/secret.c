/* Passwords for commands; see secret.h. */
#include "cli/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

/* The first line, without its end. False on a read error. */
static bool read_first_line(int fd, struct buf *out)
{
    char c = '\0';
    for (size_t i = 0; i < SECRET_MAX + 2; i++) {
        ssize_t n = read(fd, &c, 1);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        if (n == 0 || c == '\n') {
            break;
        }
        buf_append_char(out, c);
    }
    if (out->len > 0 && out->data[out->len - 1] == '\r') {
        out->len--;
    }
    return true;
}

static int check(const struct cli_input *input, const struct buf *out)
{
    if (!buf_ok(out)) {
        return cli_fail(input, EX_DATAERR, NULL, "the password is longer than %d octets", SECRET_MAX);
    }
    if (out->len == 0) {
        return cli_fail(input, EX_DATAERR, "it must have at least one character", "the password is empty");
    }
    return EX_OK;
}

/* Asks once on the terminal. Signals are held back meanwhile, so that an interrupt cannot leave it without echo. */
static bool ask(int terminal, const char *prompt, struct buf *out)
{
    struct termios before;
    sigset_t held;
    sigset_t old;
    if (tcgetattr(terminal, &before) != 0) {
        return false;
    }
    struct termios silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL | ISIG);
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGTSTP);
    sigprocmask(SIG_BLOCK, &held, &old);
    bool fine = tcsetattr(terminal, TCSAFLUSH, &silent) == 0 && dprintf(terminal, "%s: ", prompt) > 0 &&
                read_first_line(terminal, out);
    tcsetattr(terminal, TCSAFLUSH, &before);
    ssize_t n = write(terminal, "\n", 1);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return fine && n == 1;
}

static int read_terminal(const struct cli_input *input, const char *prompt, bool is_new, struct buf *out)
{
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0) {
        return cli_fail(input, EX_USAGE, "give it with --password-stdin or --password-file FILE",
                        "there is no terminal to ask for the password");
    }
    struct buf again = buf_make(SECRET_MAX);
    bool fine = ask(terminal, prompt, out) && (!is_new || ask(terminal, "Again", &again));
    close(terminal);
    int code = EX_OK;
    if (!fine) {
        code = cli_fail(input, EX_IOERR, NULL, "the password cannot be read from the terminal");
    } else if (is_new && !str_equal(buf_str(out), buf_str(&again))) {
        code = cli_fail(input, EX_DATAERR, "try again", "the two passwords differ");
    }
    buf_wipe(&again);
    return code;
}

int secret_read(const struct cli_input *input, const char *prompt, bool is_new, struct buf *out)
{
    const char *file = cli_option_value(input, "--password-file");
    bool standard_input = cli_option_given(input, "--password-stdin");
    int code = EX_OK;
    if (file != NULL && standard_input) {
        return cli_fail(input, EX_USAGE, "leave one out",
                        "both --password-stdin and --password-file are given");
    }
    if (file == NULL && !standard_input) {
        code = read_terminal(input, prompt, is_new, out);
    } else {
        int fd = standard_input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || !read_first_line(fd, out)) {
            code = cli_fail(input, EX_NOINPUT, NULL, "cannot read the password from %s: %s",
                            standard_input ? "standard input" : file, strerror(errno));
        }
        if (fd >= 0 && !standard_input) {
            close(fd);
        }
    }
    return code == EX_OK ? check(input, out) : code;
}
