/*
 * Log lines of the running process: one line an event, on standard error, which belongs to
 * the service manager. What happens to a message goes to the journal in the store, not here.
 *
 * Lines are collected and written once a pass of the event loop (log_flush); text from outside must
 * have gone through buf_append_escaped or LOG_TEXT first.
 */
#ifndef VEREDUS_BASE_LOG_H
#define VEREDUS_BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `name` is a literal such as "smtpd-mx"; `json` makes each line a JSON object. */
void log_setup(const char *name, uint32_t instance, enum log_level level, bool json);
bool log_wants(enum log_level level);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Writes what was collected. Errors are written at once. */
void log_flush(void);

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                       \
    do {                                                                                                     \
        if (log_wants(LOG_LEVEL_DEBUG)) {                                                                    \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                         \
        }                                                                                                    \
    } while (0)

#endif
