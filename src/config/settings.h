/*
 * The one table of all settings: name, type, default, bounds, help. The parser, `config check`, `config show` and the
 * manual page are made from it.
 */
#ifndef VEREDUS_CONFIG_SETTINGS_H
#define VEREDUS_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum setting_type {
    SETTING_TEXT,      /* struct str */
    SETTING_DOMAIN,    /* struct str; kept as A-labels in lower case */
    SETTING_HOST,      /* struct str; a domain or an IP address */
    SETTING_MAIL,      /* struct str; an e-mail address, its domain as A-labels */
    SETTING_ADDRESSES, /* pointer to struct str, count behind it: IP addresses */
    SETTING_SERVERS,   /* the same: IP addresses, each perhaps with "@port" */
    SETTING_ZONES,     /* the same: "domain=server" */
    SETTING_COUNT,     /* unsigned */
    SETTING_SIZE,      /* uint64_t, octets; "50M", "256 KiB" */
    SETTING_SECONDS,   /* uint32_t; "90", "5m", "4h", "5d" */
    SETTING_SCHEDULE,  /* pointer to uint32_t seconds, count behind it */
    SETTING_FLAG,      /* bool */
    SETTING_CHOICE,    /* int or enum; one of `words` */
    SETTING_CHARACTER  /* char; one character or nothing */
};

struct setting {
    const char *name;
    enum setting_type type;
    size_t offset;        /* in the section's struct */
    const char *standard; /* the default, as it would be written; NULL: must be given */
    uint64_t min;
    uint64_t max;
    const char *const *words; /* of a choice, ended by NULL */
    const char *help;
};

/* Whether its value is a list: a pointer and, behind it, the count. */
static inline bool setting_is_list(const struct setting *setting)
{
    return setting->type == SETTING_ADDRESSES || setting->type == SETTING_SERVERS ||
           setting->type == SETTING_ZONES || setting->type == SETTING_SCHEDULE;
}

/* A section, or with an empty name what stands outside all sections. */
struct section {
    const char *name;
    bool titled;   /* may come many times, each with a name of its own */
    size_t size;   /* of the struct of a titled section */
    size_t offset; /* of an untitled section's struct in struct config */
    size_t count;
    const struct setting *settings;
    const char *help;
};

extern const struct section config_sections[];
extern const size_t config_section_count;

#endif
