/* Log lines on standard error; see log.h. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, PENDING_MAX = 65536 };

/* The one place of process-wide state besides the allocator: a process has one standard error. */
static struct {
    const char *name;
    uint32_t instance;
    enum log_level level;
    bool json;
    size_t pending_len;
    char pending[PENDING_MAX];
} logger = {.name = "veredus", .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_setup(const char *name, uint32_t instance, enum log_level level, bool json)
{
    logger.name = name;
    logger.instance = instance;
    logger.level = level;
    logger.json = json;
}

bool log_wants(enum log_level level)
{
    return level <= logger.level;
}

void log_flush(void)
{
    size_t done = 0;
    while (done < logger.pending_len) {
        ssize_t n = write(STDERR_FILENO, logger.pending + done, logger.pending_len - done);
        if (n <= 0) {
            break; /* nobody reads the log: the lines are lost, the mail is not */
        }
        done += (size_t)n;
    }
    logger.pending_len = 0;
}

static void append_json_text(struct buf *line, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            buf_append_char(line, '\\');
        }
        if (c < 0x20) {
            buf_printf(line, "\\u%04x", c);
        } else {
            buf_append_char(line, (char)c);
        }
    }
}

static void compose(struct buf *line, enum log_level level, const char *text, size_t len)
{
    uint64_t now = clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm utc;
    char stamp[32];
    if (gmtime_r(&seconds, &utc) == NULL || strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        stamp[0] = '\0';
    }
    unsigned ms = (unsigned)(now % 1000);
    if (logger.json) {
        buf_printf(line,
                   "{\"time\":\"%s.%03uZ\",\"level\":\"%s\",\"role\":\"%s\",\"instance\":%u,\"text\":\"",
                   stamp, ms, level_names[level], logger.name, logger.instance);
        append_json_text(line, text, len);
        buf_append_lit(line, "\"}\n");
    } else {
        buf_printf(line, "%s.%03uZ %s[%u] %s: ", stamp, ms, logger.name, logger.instance, level_names[level]);
        buf_append(line, text, len);
        buf_append_char(line, '\n');
    }
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_wants(level)) {
        return;
    }
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n < 0) {
        return;
    }
    size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;

    struct buf line = buf_make((size_t)LINE_MAX_BYTES * 7);
    compose(&line, level, text, len);
    if (buf_ok(&line)) {
        if (line.len > PENDING_MAX - logger.pending_len) {
            log_flush();
        }
        if (line.len <= PENDING_MAX) {
            memcpy(logger.pending + logger.pending_len, line.data, line.len);
            logger.pending_len += line.len;
        }
    }
    buf_free(&line);
    if (level == LOG_LEVEL_ERROR) {
        log_flush();
    }
}
