/* What the files of the configuration's reader share: config.c reads the file, text.c its text before libconfuse sees it,
 * values.c single values, check.c what goes beyond them. */
#ifndef VEREDUS_CONFIG_CONFIG_PRIVATE_H
#define VEREDUS_CONFIG_CONFIG_PRIVATE_H

#include "config/config.h"
#include "config/settings.h"

enum { CONFIG_SECTIONS_MAX = 4096 };

struct config_reader {
    struct config *config;
    struct buf *errors;
    const char *file_name;
    bool failed;
    /* Where each section begins, in the order of the file; libconfuse only knows where it ends. */
    size_t section_count;
    unsigned section_lines[CONFIG_SECTIONS_MAX];
};

/* A list's pointer and, right behind it, its count. */
struct config_list {
    const void *items;
    size_t count;
};

/* Adds an error; one line for one mistake. `line` 0: the file as a whole. */
void config_complain(struct config_reader *reader, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Copies the text with its comments blanked (libconfuse counts the line of each comment twice), and finds what libconfuse
 * would misread or report at another line: brackets, quotes and comments that are not closed, bytes that are not UTF-8.
 * Ends the copy with a NUL. False if anything is wrong.
 */
bool config_prepare_text(struct config_reader *reader, struct str text, struct buf *out);

/* Reads one value, as it is written, into the member of the section's struct; complains if it will not do. */
void config_read_value(struct config_reader *reader, const struct setting *setting, struct str text,
                       void *target, unsigned line);
/* The same for a setting that is a list (setting_is_list). */
void config_read_list(struct config_reader *reader, const struct setting *setting, const struct str *items,
                      size_t count, void *target, unsigned line);

/* The checks that need the whole configuration; names of domains and routes become A-labels in lower case. */
void config_check_whole(struct config_reader *reader, struct config *config);

#endif
