/*
 * Reading the configuration with libconfuse, from the table in settings.c. libconfuse sees every value as a string; types,
 * bounds and words are checked in values.c, so that each error can name its line.
 */
#include "config/config_private.h"

#include "base/mem.h"

#include <confuse.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { ARENA_MAX = 8 << 20, LINES_MAX = 4096, SETTINGS_MAX = 32, LIST_MAX = 64 };

/* Where a setting or section was given: libconfuse tells its line only while it reads it. */
struct option_line {
    const cfg_t *section;
    const char *name;
    unsigned line;
    unsigned values; /* of a list, so far */
    unsigned firsts; /* calls with one value */
};

struct parse {
    struct config_reader reader;
    size_t sections_ended;
    size_t line_count;
    struct option_line lines[LINES_MAX];
};

/* libconfuse's callbacks carry no context of ours. */
static struct parse *current;

__attribute__((format(printf, 3, 0))) static void add_error(struct config_reader *reader, unsigned line,
                                                            const char *format, va_list args)
{
    char text[1024];
    int n = vsnprintf(text, sizeof(text), format, args);
    reader->failed = true;
    if (n >= 0) {
        buf_append_str(reader->errors, str_of(reader->file_name));
        if (line > 0) {
            buf_printf(reader->errors, ":%u", line);
        }
        buf_append_lit(reader->errors, ": ");
        size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
        buf_append_escaped(reader->errors, str_make(text, len), 1024);
        buf_append_char(reader->errors, '\n');
    }
}

void config_complain(struct config_reader *reader, unsigned line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_error(reader, line, format, args);
    va_end(args);
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
        if (d > best || d == SIZE_MAX) {
            continue;
        }
        found = str_of(words[i]);
        if (d == 0) {
            break;
        }
        best = d - 1; /* a later word must be nearer */
    }
    return found;
}

/* libconfuse's own errors: syntax, and options that do not exist. */

static const char *place_of(const cfg_t *section)
{
    return section->name != NULL && strcmp(section->name, "root") != 0 ? section->name : "the file";
}

/* The section that has a setting of this name; NULL if there is none. */
static const struct section *owner_of(const char *name)
{
    for (size_t i = 0; i < config_section_count; i++) {
        for (size_t k = 0; k < config_sections[i].count; k++) {
            if (strcmp(config_sections[i].settings[k].name, name) == 0) {
                return &config_sections[i];
            }
        }
    }
    return NULL;
}

static void unknown_name(cfg_t *section, const char *name)
{
    const char *names[SETTINGS_MAX];
    size_t count = 0;
    for (cfg_opt_t *opt = section->opts; opt->name != NULL && count < SETTINGS_MAX; opt++) {
        names[count++] = opt->name;
    }
    struct str near = config_nearest(str_of(name), names, count);
    const struct section *owner = owner_of(name);
    char advice[160] = "see veredus.conf(5)";
    if (owner != NULL && owner->name[0] == '\0') {
        snprintf(advice, sizeof(advice), "it stands outside all sections; is a } missing before it?");
    } else if (owner != NULL) {
        snprintf(advice, sizeof(advice), "it is one of %s: write %s%s { %s = ... }", owner->name, owner->name,
                 owner->titled ? " \"NAME\"" : "", name);
    } else if (near.len > 0) {
        snprintf(advice, sizeof(advice), "did you mean \"%.*s\"?", STR_ARGS(near));
    }
    config_complain(&current->reader, (unsigned)section->line, "\"%s\" is not a setting of %s; %s", name,
                    place_of(section), advice);
}

/* What libconfuse says, and how we say it. The name in its text comes as the argument. */
static const struct {
    const char *theirs;
    const char *ours;
} messages[] = {
    {"missing equal sign after option", "\"%s\" needs an = and a value behind it"},
    {"missing title for section", "a section %s needs a name: write %s \"NAME\" { ... }"},
    {"missing opening brace for section", "\"%s\" is a section: write %s { ... }"},
    {"found duplicate title",
     "there is a section named \"%s\" already; put the settings together, or give it another name"},
    {"attempt to append to non-list option", "\"%s\" has one value: write = and not +="},
    {"unexpected token",
     "\"%s\" does not belong here; values of a list stand in { }, and nothing else needs commas or brackets"},
    {"premature end of file", "the file ends in the middle of a setting%.0s"},
    {"unterminated string constant", "a quote is not closed%.0s"},
};

static void on_error(cfg_t *section, const char *format, va_list args)
{
    unsigned line = (unsigned)section->line;
    if (strstr(format, "no such option") != NULL) {
        unknown_name(section, va_arg(args, const char *));
        return;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        if (strstr(format, messages[i].theirs) != NULL) {
            const char *name = strchr(format, '%') == NULL ? "" : va_arg(args, const char *);
            config_complain(&current->reader, line, messages[i].ours, name, name);
            return;
        }
    }
    char text[512];
    int n = vsnprintf(text, sizeof(text), format, args);
#pragma GCC diagnostic pop
    config_complain(&current->reader, line, "%s; check the brackets and quotes before it",
                    n < 0 ? "syntax error" : text);
}

/* Lines. */

/* NULL if it was not noted. */
static struct option_line *find_note(const cfg_t *section, const char *name)
{
    for (size_t i = current->line_count; i > 0; i--) {
        struct option_line *at = &current->lines[i - 1];
        if (at->section == section && strcmp(at->name, name) == 0) {
            return at;
        }
    }
    return NULL;
}

/* 0 if it was not noted. */
static unsigned noted_line(const cfg_t *section, const char *name)
{
    const struct option_line *at = find_note(section, name);
    return at == NULL ? 0 : at->line;
}

static void note(const cfg_t *section, const char *name, unsigned line)
{
    if (current->line_count < LINES_MAX) {
        current->lines[current->line_count++] =
            (struct option_line){.section = section, .name = name, .line = line, .values = 1, .firsts = 1};
    }
}

/* For a list libconfuse calls with each of its values, and once more at its end; a list that is set again begins anew. */
static bool goes_on(struct option_line *at, const cfg_opt_t *opt)
{
    at->firsts += opt->nvalues <= 1;
    bool further = (opt->flags & CFGF_LIST) != 0 && opt->nvalues >= at->values && at->firsts <= 2;
    at->values = opt->nvalues;
    return further;
}

static int note_setting(cfg_t *section, cfg_opt_t *opt)
{
    struct option_line *before = find_note(section, opt->name);
    if (before == NULL) {
        note(section, opt->name, (unsigned)section->line);
    } else if (!goes_on(before, opt)) {
        before->firsts = 0;
        config_complain(&current->reader, (unsigned)section->line,
                        "%s is set already, in line %u; leave one out", opt->name, before->line);
    }
    return 0;
}

/* Called at a section's end. */
static int note_section(cfg_t *root, cfg_opt_t *opt)
{
    size_t number = current->sections_ended++;
    const cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
    unsigned line =
        number < current->reader.section_count ? current->reader.section_lines[number] : (unsigned)root->line;
    unsigned before = (opt->flags & CFGF_MULTI) != 0 ? 0 : noted_line(root, opt->name);
    if (before != 0) {
        config_complain(&current->reader, line,
                        "there is a section %s already, in line %u; put the settings together", opt->name,
                        before);
    }
    note(root, opt->name, line);
    note(section, "", line);
    return 0;
}

static unsigned line_of(const cfg_t *section, const char *name)
{
    unsigned line = noted_line(section, name);
    return line != 0 ? line : (unsigned)section->line;
}

/* Values. */

static void read_standard_list(const struct setting *setting, void *target)
{
    struct str items[LIST_MAX];
    size_t count = 0;
    struct str rest = str_of(setting->standard);
    struct str item;
    while (rest.len > 0 && count < LIST_MAX && str_split(&rest, ',', &item)) {
        items[count++] = str_trim(item);
    }
    config_read_list(&current->reader, setting, items, count, target, 0);
}

static void read_given_list(const struct setting *setting, cfg_t *section, void *target)
{
    struct str items[LIST_MAX];
    unsigned size = cfg_size(section, setting->name);
    for (unsigned i = 0; i < size && i < LIST_MAX; i++) {
        items[i] = str_of(cfg_getnstr(section, setting->name, i));
    }
    /* No list may be as long as LIST_MAX + 1, so a longer one is refused before its items are looked at. */
    config_read_list(&current->reader, setting, items, size, target, line_of(section, setting->name));
}

static void is_missing(const struct setting *setting, cfg_t *section)
{
    const char *title = section == NULL ? NULL : cfg_title(section);
    if (title == NULL) {
        config_complain(&current->reader, 0, "%s must be set", setting->name);
    } else {
        config_complain(&current->reader, line_of(section, ""), "%s \"%s\": %s must be set", section->name,
                        title, setting->name);
    }
}

static void read_setting(const struct setting *setting, cfg_t *section, void *base)
{
    void *target = (char *)base + setting->offset;
    /* A list that is given may be empty; libconfuse notes no line for it, and shows it by another flag. */
    const cfg_opt_t *opt = section == NULL ? NULL : cfg_getopt(section, setting->name);
    bool given =
        opt != NULL && (opt->nvalues > 0 || (setting_is_list(setting) && (opt->flags & CFGF_MODIFIED) != 0));
    if (!given && setting->standard == NULL) {
        is_missing(setting, section);
    } else if (setting_is_list(setting)) {
        if (given) {
            read_given_list(setting, section, target);
        } else {
            read_standard_list(setting, target);
        }
    } else {
        struct str text = str_of(given ? cfg_getstr(section, setting->name) : setting->standard);
        config_read_value(&current->reader, setting, text, target,
                          given ? line_of(section, setting->name) : 0);
    }
}

static void read_section(const struct section *section, cfg_t *given, void *base)
{
    for (size_t i = 0; i < section->count; i++) {
        read_setting(&section->settings[i], given, base);
    }
}

static void set_line(const struct section *section, void *item, unsigned line)
{
    if (strcmp(section->name, "listener") == 0) {
        ((struct config_listener *)item)->line = line;
    } else if (strcmp(section->name, "tls") == 0) {
        ((struct config_tls *)item)->line = line;
    } else if (strcmp(section->name, "route") == 0) {
        ((struct config_route *)item)->line = line;
    } else if (strcmp(section->name, "domain") == 0) {
        ((struct config_domain *)item)->line = line;
    }
}

/* All titled sections begin with their name, and end with what the table does not set. */
static void read_titled(const struct section *section, cfg_t *root, struct config *config)
{
    size_t count = cfg_size(root, section->name);
    char *items = arena_alloc(&config->arena, (count + 1) * section->size);
    if (items == NULL) {
        config_complain(&current->reader, 0, "the configuration does not fit into memory");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        cfg_t *given = cfg_getnsec(root, section->name, (unsigned)i);
        char *item = items + i * section->size;
        struct str *name = (struct str *)(void *)item;
        *name = arena_copy(&config->arena, str_of(cfg_title(given)));
        if (name->data == NULL || name->len == 0 || name->len > 253) {
            config_complain(&current->reader, line_of(given, ""),
                            "the name of a section %s must have 1 to 253 characters", section->name);
            *name = STR_EMPTY;
        }
        read_section(section, given, item);
        set_line(section, item, line_of(given, ""));
    }
    struct config_list list = {.items = items, .count = count};
    memcpy((char *)config + section->offset, &list, sizeof(list));
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
    cfg_opt_t plain = CFG_STR(setting->name, NULL, CFGF_NODEFAULT);
    cfg_opt_t many = CFG_STR_LIST(setting->name, NULL, CFGF_NODEFAULT);
    cfg_opt_t opt = setting_is_list(setting) ? many : plain;
    opt.validcb = note_setting;
    return opt;
}

static cfg_opt_t section_option(const struct section *section, cfg_opt_t *options)
{
    cfg_opt_t titled = CFG_SEC(section->name, options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
    cfg_opt_t single = CFG_SEC(section->name, options, CFGF_NONE);
    cfg_opt_t opt = section->titled ? titled : single;
    opt.validcb = note_section;
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
            tables->root[at++] = section_option(section, tables->sections[i]);
        }
    }
    tables->root[at] = end;
}

static void read_all(cfg_t *root)
{
    struct config *config = current->reader.config;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct section *section = &config_sections[i];
        if (section->name[0] == '\0') {
            read_section(section, root, config);
        } else if (section->titled) {
            read_titled(section, root, config);
        } else {
            read_section(section, cfg_getsec(root, section->name), (char *)config + section->offset);
        }
    }
    if (!current->reader.failed) {
        config_check_whole(&current->reader, config);
        fill_in(config);
    }
}

static void parse_text(const char *text)
{
    struct config_reader *reader = &current->reader;
    struct option_tables *tables = mem_new(struct option_tables);
    if (tables == NULL) {
        config_complain(reader, 0, "the configuration does not fit into memory");
        return;
    }
    make_options(tables);
    cfg_t *root = cfg_init(tables->root, CFGF_NONE);
    if (root == NULL) {
        config_complain(reader, 0, "the configuration does not fit into memory");
    } else {
        cfg_set_error_function(root, on_error);
        int result = cfg_parse_buf(root, text);
        if (result == CFG_SUCCESS) {
            read_all(root);
        } else if (!reader->failed) {
            config_complain(reader, (unsigned)root->line, "the file cannot be read from here on");
        }
        cfg_free(root);
    }
    mem_free(tables);
}

bool config_parse(struct str text, const char *file_name, struct config **out, struct buf *errors)
{
    *out = NULL;
    struct parse *parse = mem_new(struct parse);
    struct config *config = mem_new(struct config);
    bool fine = parse != NULL && config != NULL;
    if (fine) {
        struct buf copy;
        config->references = 1;
        config->arena = arena_make(ARENA_MAX);
        config->file_name = arena_copy(&config->arena, str_of(file_name));
        parse->reader.config = config;
        parse->reader.errors = errors;
        parse->reader.file_name = file_name;
        current = parse;
        if (config_prepare_text(&parse->reader, text, &copy)) {
            parse_text(copy.data);
        }
        current = NULL;
        buf_free(&copy);
        fine = !parse->reader.failed && config->file_name.data != NULL;
    } else {
        buf_append_lit(errors, "the configuration does not fit into memory\n");
    }
    mem_free(parse);
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
