/*
 * Reading the configuration with libconfuse, from the table in settings.c. libconfuse sees every value as a string; types,
 * bounds and words are checked here, so that each error can name its line.
 */
#include "config/config.h"

#include "base/mem.h"
#include "config/settings.h"

#include <confuse.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { ARENA_MAX = 8 << 20, LINES_MAX = 4096, TEXT_MAX = 4 << 20, SETTINGS_MAX = 32 };

/* Where an option was set: libconfuse tells its line only while it reads it. */
struct option_line {
    const cfg_t *section;
    const char *name;
    unsigned line;
};

struct reader {
    struct config *config;
    struct buf *errors;
    const char *file_name;
    size_t line_count;
    struct option_line lines[LINES_MAX];
    bool failed;
};

/* libconfuse's callbacks carry no context of ours. */
static struct reader *current;

static void complain(unsigned line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(unsigned line, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    current->failed = true;
    if (n >= 0) {
        buf_printf(current->errors, "%s:%u: ", current->file_name, line);
        size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
        buf_append_escaped(current->errors, str_make(text, len), 1024);
        buf_append_char(current->errors, '\n');
    }
}

/* Edit distance of two short words, at most `limit` + 1. */
static size_t distance(struct str a, struct str b)
{
    size_t row[64];
    if (b.len >= 63 || a.len >= 63) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t above = row[j];
            size_t change = diagonal + (ascii_lower(a.data[i - 1]) != ascii_lower(b.data[j - 1]));
            size_t step = (above < row[j - 1] ? above : row[j - 1]) + 1;
            row[j] = change < step ? change : step;
            diagonal = above;
        }
    }
    return row[b.len];
}

struct str config_nearest(struct str word, const char *const *words, size_t count)
{
    size_t best = word.len / 2 + 1;
    struct str found = STR_EMPTY;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, str_of(words[i]));
        if (d <= best && d < SIZE_MAX) {
            best = d;
            found = str_of(words[i]);
            if (d > 0) {
                best = d - 1; /* a later word must be nearer */
            } else {
                break;
            }
        }
    }
    return found;
}

/* libconfuse's own errors: syntax, and options that do not exist. */

static void suggest(cfg_t *section, const char *name)
{
    const char *names[SETTINGS_MAX];
    size_t count = 0;
    for (cfg_opt_t *opt = section->opts; opt->name != NULL && count < SETTINGS_MAX; opt++) {
        names[count++] = opt->name;
    }
    struct str near = config_nearest(str_of(name), names, count);
    const char *where = section->name != NULL && strcmp(section->name, "root") != 0 ? section->name : "the file";
    if (near.len > 0) {
        complain((unsigned)section->line, "\"%s\" is not a setting of %s; did you mean \"%.*s\"?", name, where,
                 STR_ARGS(near));
    } else {
        complain((unsigned)section->line, "\"%s\" is not a setting of %s; see veredus.conf(5)", name, where);
    }
}

static void on_error(cfg_t *section, const char *format, va_list args)
{
    if (strstr(format, "no such option") != NULL) {
        suggest(section, va_arg(args, const char *));
        return;
    }
    char text[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int n = vsnprintf(text, sizeof(text), format, args);
#pragma GCC diagnostic pop
    complain((unsigned)section->line, "%s; check the brackets and quotes before it", n < 0 ? "syntax error" : text);
}

static int note_line(cfg_t *section, cfg_opt_t *opt)
{
    if (current->line_count < LINES_MAX) {
        current->lines[current->line_count++] =
            (struct option_line){.section = section, .name = opt->name, .line = (unsigned)section->line};
    }
    return 0;
}

static unsigned line_of(const cfg_t *section, const char *name)
{
    for (size_t i = current->line_count; i > 0; i--) {
        const struct option_line *at = &current->lines[i - 1];
        if (at->section == section && strcmp(at->name, name) == 0) {
            return at->line;
        }
    }
    return (unsigned)section->line;
}

/* Values. Each returns NULL, or what is wrong. */

static bool unit_of(struct str unit, bool time, uint64_t *factor)
{
    static const struct {
        const char *word;
        bool time;
        uint64_t factor;
    } units[] = {{"", false, 1},        {"", true, 1},          {"k", false, 1024},     {"kib", false, 1024},
                 {"m", false, 1048576}, {"mib", false, 1048576}, {"g", false, 1073741824}, {"gib", false, 1073741824},
                 {"s", true, 1},        {"m", true, 60},        {"h", true, 3600},      {"d", true, 86400}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].time == time && str_equal_nocase(unit, str_of(units[i].word))) {
            *factor = units[i].factor;
            return true;
        }
    }
    return false;
}

static const char *read_number(struct str text, bool plain, bool time, uint64_t *value)
{
    size_t digits = 0;
    while (digits < text.len && ascii_is_digit(text.data[digits])) {
        digits++;
    }
    uint64_t factor = 1;
    if (!str_to_u64(str_sub(text, 0, digits), UINT64_MAX / 1073741824, value)) {
        return "is not a number";
    }
    struct str unit = str_trim(str_from(text, digits));
    if (plain && unit.len > 0) {
        return "is not a plain number";
    }
    if (!unit_of(unit, time, &factor)) {
        return time ? "has an unknown unit: write s, m, h or d" : "has an unknown unit: write K, M or G";
    }
    *value *= factor;
    return NULL;
}

static const char *read_flag(struct str text, bool *value)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < 3; i++) {
        if (str_equal_nocase(text, str_of(yes[i]))) {
            *value = true;
            return NULL;
        }
        if (str_equal_nocase(text, str_of(no[i]))) {
            *value = false;
            return NULL;
        }
    }
    return "is neither true nor false";
}

static const char *store_choice(const struct setting *setting, struct str text, void *target, unsigned line)
{
    size_t count = 0;
    for (; setting->words[count] != NULL; count++) {
        if (str_equal(text, str_of(setting->words[count]))) {
            if (setting->max == 1) { /* a choice of two that is kept as a bool */
                *(bool *)target = count == 1;
            } else {
                *(int *)target = (int)count;
            }
            return NULL;
        }
    }
    struct str near = config_nearest(text, setting->words, count);
    if (near.len == 0) {
        return "is not one of the words for it; see veredus.conf(5)";
    }
    complain(line, "%s: \"%.*s\" is not one of the words for it; did you mean \"%.*s\"?", setting->name, STR_ARGS(text),
             STR_ARGS(near));
    return "";
}

static const char *store_text(const struct setting *setting, struct str text, struct str *target)
{
    if (text.len < setting->min) {
        return "must not be empty";
    }
    if (text.len > setting->max) {
        return "is too long";
    }
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f) {
            return "has a control character";
        }
    }
    *target = arena_copy(&current->config->arena, text);
    return target->data == NULL ? "does not fit into memory" : NULL;
}

static const char *store_scalar(const struct setting *setting, struct str text, void *target, unsigned line)
{
    uint64_t number = 0;
    const char *wrong = NULL;
    switch (setting->type) {
    case SETTING_TEXT: return store_text(setting, text, target);
    case SETTING_FLAG: return read_flag(text, target);
    case SETTING_CHOICE: return store_choice(setting, text, target, line);
    case SETTING_CHARACTER:
        if (text.len > 1) {
            return "is more than one character";
        }
        *(char *)target = text.len == 1 ? text.data[0] : '\0';
        return NULL;
    default: break;
    }
    wrong = read_number(text, setting->type == SETTING_COUNT, setting->type == SETTING_SECONDS, &number);
    if (wrong != NULL) {
        return wrong;
    }
    if (number < setting->min || number > setting->max) {
        complain(line, "%s: %.*s is out of bounds: at least %llu, at most %llu", setting->name, STR_ARGS(text),
                 (unsigned long long)setting->min, (unsigned long long)setting->max);
        return "";
    }
    if (setting->type == SETTING_SIZE) {
        *(uint64_t *)target = number;
    } else {
        *(uint32_t *)target = (uint32_t)number;
    }
    return NULL;
}

/* A list's pointer and, right behind it, its count. */
struct list_member {
    const void *items;
    size_t count;
};

static const char *store_list(const struct setting *setting, const struct str *items, size_t count, void *target)
{
    bool times = setting->type == SETTING_SCHEDULE;
    if (count < setting->min || count > setting->max) {
        return "has too few or too many entries";
    }
    void *copy = arena_alloc(&current->config->arena, (count + 1) * (times ? sizeof(uint32_t) : sizeof(struct str)));
    if (copy == NULL) {
        return "does not fit into memory";
    }
    for (size_t i = 0; i < count; i++) {
        if (times) {
            uint64_t seconds = 0;
            const char *wrong = read_number(items[i], false, true, &seconds);
            if (wrong != NULL || seconds == 0 || seconds > 30 * 86400) {
                return wrong != NULL ? wrong : "has an entry out of bounds: 1s to 30d";
            }
            ((uint32_t *)copy)[i] = (uint32_t)seconds;
        } else {
            ((struct str *)copy)[i] = arena_copy(&current->config->arena, items[i]);
            if (((struct str *)copy)[i].data == NULL) {
                return "does not fit into memory";
            }
        }
    }
    struct list_member member = {.items = copy, .count = count};
    memcpy(target, &member, sizeof(member));
    return NULL;
}

static void store_default_list(const struct setting *setting, void *target)
{
    struct str items[64];
    size_t count = 0;
    struct str rest = str_of(setting->standard);
    struct str item;
    while (rest.len > 0 && count < 64 && str_split(&rest, ',', &item)) {
        items[count++] = str_trim(item);
    }
    store_list(setting, items, count, target);
}

static void store_given_list(const struct setting *setting, cfg_t *section, void *target)
{
    struct str items[64];
    unsigned size = cfg_size(section, setting->name);
    unsigned line = line_of(section, setting->name);
    if (size > 64) {
        complain(line, "%s has more than 64 entries", setting->name);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        items[i] = str_of(cfg_getnstr(section, setting->name, i));
    }
    const char *wrong = store_list(setting, items, size, target);
    if (wrong != NULL) {
        complain(line, "%s %s", setting->name, wrong);
    }
}

static void store_setting(const struct setting *setting, cfg_t *section, void *base)
{
    void *target = (char *)base + setting->offset;
    bool list = setting->type == SETTING_LIST || setting->type == SETTING_SCHEDULE;
    bool given = section != NULL && cfg_size(section, setting->name) > 0;
    if (!given && setting->standard == NULL) {
        const char *title = section == NULL ? NULL : cfg_title(section);
        complain(section == NULL ? 0 : (unsigned)section->line, "%s%s%s%s must be set", title == NULL ? "" : section->name,
                 title == NULL ? "" : " ", title == NULL ? "" : title, title == NULL ? setting->name : "");
        if (title != NULL) {
            complain((unsigned)section->line, "... the missing setting is \"%s\"", setting->name);
        }
        return;
    }
    if (list) {
        if (given) {
            store_given_list(setting, section, target);
        } else {
            store_default_list(setting, target);
        }
        return;
    }
    struct str text = str_of(given ? cfg_getstr(section, setting->name) : setting->standard);
    unsigned line = given ? line_of(section, setting->name) : 0;
    const char *wrong = store_scalar(setting, text, target, line);
    if (wrong != NULL && wrong[0] != '\0') {
        complain(line, "%s: \"%.*s\" %s", setting->name, STR_ARGS(text), wrong);
    }
}

static void store_section(const struct section *section, cfg_t *given, void *base)
{
    for (size_t i = 0; i < section->count; i++) {
        store_setting(&section->settings[i], given, base);
    }
}

/* All titled sections begin with their name, and end with what the table does not set. */
static void store_titled(const struct section *section, cfg_t *root, struct config *config)
{
    size_t count = cfg_size(root, section->name);
    char *items = arena_alloc(&config->arena, (count + 1) * section->size);
    if (items == NULL) {
        complain(0, "the configuration does not fit into memory");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        cfg_t *given = cfg_getnsec(root, section->name, (unsigned)i);
        char *item = items + i * section->size;
        struct str *name = (struct str *)(void *)item;
        *name = arena_copy(&config->arena, str_of(cfg_title(given)));
        if (name->data == NULL || name->len == 0 || name->len > 253) {
            complain((unsigned)given->line, "the name of a %s section must have 1 to 253 characters", section->name);
            name->data = "";
            name->len = 0;
        }
        store_section(section, given, item);
        if (strcmp(section->name, "listener") == 0) {
            ((struct config_listener *)(void *)item)->line = (unsigned)given->line;
        } else if (strcmp(section->name, "tls") == 0) {
            ((struct config_tls *)(void *)item)->line = (unsigned)given->line;
        } else if (strcmp(section->name, "route") == 0) {
            ((struct config_route *)(void *)item)->line = (unsigned)given->line;
        }
    }
    struct list_member member = {.items = items, .count = count};
    memcpy((char *)config + section->offset, &member, sizeof(member));
}

/* What goes beyond single values. */

static void lower_names(struct config *config)
{
    for (size_t i = 0; i < config->domain_count; i++) {
        char *name = (char *)(uintptr_t)config->domains[i].name.data;
        for (size_t k = 0; k < config->domains[i].name.len; k++) {
            name[k] = ascii_lower(name[k]);
        }
    }
    for (size_t i = 0; i < config->route_count; i++) {
        char *name = (char *)(uintptr_t)config->routes[i].domain.data;
        for (size_t k = 0; k < config->routes[i].domain.len; k++) {
            name[k] = ascii_lower(name[k]);
        }
    }
}

static void check_listeners(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        if (l->tls != LISTENER_TLS_NONE && l->tls_name.len > 0 && config_find_tls(config, l->tls_name) == NULL) {
            complain(l->line, "listener %.*s: there is no tls section named \"%.*s\"", STR_ARGS(l->name),
                     STR_ARGS(l->tls_name));
        } else if (l->tls == LISTENER_TLS_IMPLICIT && config->tls_count == 0) {
            complain(l->line, "listener %.*s: implicit TLS needs a tls section with certificate and key",
                     STR_ARGS(l->name));
        } else if (l->tls != LISTENER_TLS_IMPLICIT && config->tls_count == 0 &&
                   (l->kind == LISTENER_SUBMISSION || l->kind == LISTENER_POP3)) {
            complain(l->line, "listener %.*s: nobody could log in without TLS; add a tls section with certificate and key",
                     STR_ARGS(l->name));
        }
    }
}

static void check_routes(const struct config *config)
{
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *r = &config->routes[i];
        if (r->login.len > 0 && r->tls != ROUTE_TLS_REQUIRED && r->tls != ROUTE_TLS_VERIFIED) {
            complain(r->line, "route %.*s: a login needs tls = required or tls = verified, else the password would "
                              "travel in clear",
                     STR_ARGS(r->domain));
        }
        if ((r->login.len > 0) != (r->password_file.len > 0)) {
            complain(r->line, "route %.*s: login and password_file go together", STR_ARGS(r->domain));
        }
    }
}

static void fill_in(struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned each = cores < 1 ? 1 : cores > 16 ? 16 : (unsigned)cores;
    struct config_processes *p = &config->processes;
    p->smtpd_mx = p->smtpd_mx == 0 ? each : p->smtpd_mx;
    p->smtpd_msa = p->smtpd_msa == 0 ? each : p->smtpd_msa;
    p->imapd = p->imapd == 0 ? each : p->imapd;
    if (config->relay.hello_name.len == 0) {
        config->relay.hello_name = config->hostname;
    }
}

/* libconfuse's option arrays, made from the table. */

struct option_tables {
    cfg_opt_t root[64];
    cfg_opt_t sections[16][SETTINGS_MAX];
};

static cfg_opt_t value_option(const struct setting *setting)
{
    bool list = setting->type == SETTING_LIST || setting->type == SETTING_SCHEDULE;
    cfg_opt_t plain = CFG_STR(setting->name, NULL, CFGF_NODEFAULT);
    cfg_opt_t many = CFG_STR_LIST(setting->name, NULL, CFGF_NODEFAULT);
    cfg_opt_t opt = list ? many : plain;
    opt.validcb = note_line;
    return opt;
}

static void make_options(struct option_tables *tables)
{
    const cfg_opt_t end = CFG_END();
    size_t at = 0;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct section *section = &config_sections[i];
        cfg_opt_t *options = section->name[0] == '\0' ? tables->root : tables->sections[i];
        for (size_t k = 0; k < section->count; k++) {
            options[k] = value_option(&section->settings[k]);
        }
        if (section->name[0] == '\0') {
            at = section->count;
        } else {
            options[section->count] = end;
            cfg_opt_t titled = CFG_SEC(section->name, tables->sections[i], CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
            cfg_opt_t single = CFG_SEC(section->name, tables->sections[i], CFGF_NONE);
            tables->root[at++] = section->titled ? titled : single;
        }
    }
    tables->root[at] = end;
}

static void read_all(struct reader *reader, cfg_t *root)
{
    struct config *config = reader->config;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct section *section = &config_sections[i];
        if (section->name[0] == '\0') {
            store_section(section, root, config);
        } else if (section->titled) {
            store_titled(section, root, config);
        } else {
            store_section(section, cfg_getsec(root, section->name), (char *)config + section->offset);
        }
    }
    if (!reader->failed) {
        lower_names(config);
        check_listeners(config);
        check_routes(config);
        fill_in(config);
    }
}

static bool read_text(struct reader *reader, const char *text)
{
    struct option_tables *tables = mem_new(struct option_tables);
    if (tables == NULL) {
        complain(0, "the configuration does not fit into memory");
        return false;
    }
    make_options(tables);
    cfg_t *root = cfg_init(tables->root, CFGF_NONE);
    if (root == NULL) {
        complain(0, "the configuration does not fit into memory");
    } else {
        cfg_set_error_function(root, on_error);
        int result = cfg_parse_buf(root, text);
        if (result == CFG_SUCCESS) {
            read_all(reader, root);
        } else if (!reader->failed) {
            complain((unsigned)root->line, "the file cannot be parsed; check the brackets and quotes before this line");
        }
        cfg_free(root);
    }
    mem_free(tables);
    return !reader->failed;
}

static bool check_text(struct str text)
{
    if (text.len > TEXT_MAX) {
        complain(0, "the file is larger than %d bytes", TEXT_MAX);
    } else if (memchr(text.data, '\0', text.len) != NULL) {
        complain(0, "the file has a NUL byte");
    } else if (str_find_str(text, STR("${")) != SIZE_MAX) {
        complain(0, "the file has \"${\": variables of the environment are not expanded; write the value itself");
    }
    return !current->failed;
}

bool config_parse(struct str text, const char *file_name, struct config **out, struct buf *errors)
{
    *out = NULL;
    struct reader *reader = mem_new(struct reader);
    struct config *config = mem_new(struct config);
    struct buf copy = buf_make(TEXT_MAX + 1);
    bool fine = reader != NULL && config != NULL;
    if (fine) {
        config->references = 1;
        config->arena = arena_make(ARENA_MAX);
        config->file_name = arena_copy(&config->arena, str_of(file_name));
        *reader = (struct reader){.config = config, .errors = errors, .file_name = file_name};
        current = reader;
        fine = check_text(text) && buf_append_str(&copy, text) && buf_append_char(&copy, '\0') &&
               read_text(reader, copy.data) && config->file_name.data != NULL;
        current = NULL;
    } else {
        buf_append_lit(errors, "the configuration does not fit into memory\n");
    }
    buf_free(&copy);
    mem_free(reader);
    if (!fine) {
        if (config != NULL) {
            config->references = 1;
            config_unref(config);
        }
        return false;
    }
    *out = config;
    return true;
}

struct config *config_ref(struct config *config)
{
    config->references++;
    return config;
}

void config_unref(struct config *config)
{
    if (config != NULL && --config->references == 0) {
        arena_free(&config->arena);
        mem_free(config);
    }
}

const struct config_listener *config_find_listener(const struct config *config, struct str name)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        if (str_equal(config->listeners[i].name, name)) {
            return &config->listeners[i];
        }
    }
    return NULL;
}

const struct config_tls *config_find_tls(const struct config *config, struct str name)
{
    for (size_t i = 0; i < config->tls_count; i++) {
        if (name.len == 0 || str_equal(config->tls[i].name, name)) {
            return &config->tls[i];
        }
    }
    return NULL;
}

const struct config_domain *config_find_domain(const struct config *config, struct str domain)
{
    for (size_t i = 0; i < config->domain_count; i++) {
        if (str_equal(config->domains[i].name, domain)) {
            return &config->domains[i];
        }
    }
    return NULL;
}

const struct config_route *config_find_route(const struct config *config, struct str domain)
{
    const struct config_route *best = NULL;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        bool below = route->domain.len > 0 && route->domain.data[0] == '.' && str_ends(domain, route->domain);
        if (str_equal(route->domain, domain)) {
            return route;
        }
        if (below && (best == NULL || route->domain.len > best->domain.len)) {
            best = route;
        } else if (best == NULL && str_equal(route->domain, STR("*"))) {
            best = route;
        }
    }
    return best;
}
