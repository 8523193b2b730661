/*
 * `config check` and `config show`: the configuration file, checked and printed by the same table that reads it
 * (config/settings.h). They need no server and change nothing.
 */
#include "config/settings.h"
#include "cli/output.h"
#include "cli/run.h"
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>

enum { FILE_MAX = 4 << 20, ERRORS_MAX = 1 << 20 };

static int read_file(const struct cli_input *input, const char *name, struct buf *text)
{
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    if (file == NULL) {
        return cli_fail(input, EX_NOINPUT, "name the configuration file with -c FILE", "cannot open %s: %s",
                        name, strerror(errno));
    }
    char chunk[8192];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buf_append(text, chunk, n);
    }
    int error = ferror(file) ? errno : 0;
    if (file != stdin) {
        fclose(file);
    }
    if (error != 0) {
        return cli_fail(input, EX_IOERR, NULL, "cannot read %s: %s", name, strerror(error));
    }
    if (!buf_ok(text)) {
        return cli_fail(input, EX_DATAERR, "a configuration is a few kilobytes; is this the right file?",
                        "%s is larger than %d MiB", name, FILE_MAX >> 20);
    }
    return EX_OK;
}

/* "file:line: what; advice" as an object. */
static json_t *error_object(struct str line, struct str file)
{
    struct str rest = str_starts(line, file) && line.len > file.len ? str_from(line, file.len + 1) : line;
    size_t colon = str_find(rest, 0, ':');
    uint64_t number = 0;
    struct str message = str_trim(rest); /* without a line: the file as a whole */
    if (colon != SIZE_MAX && str_to_u64(str_sub(rest, 0, colon), 1U << 30, &number)) {
        message = str_trim(str_from(rest, colon + 1));
    }
    return json_pack("{s:s%,s:I,s:s%}", "file", file.data, file.len, "line", (json_int_t)number, "message",
                     message.data, message.len);
}

static int report_errors(const struct cli_input *input, const char *name, struct str errors)
{
    json_t *list = json_array();
    struct str rest = errors;
    struct str line;
    while (str_split(&rest, '\n', &line)) {
        if (line.len > 0 && input->json) {
            json_array_append_new(list, error_object(line, str_of(name)));
        } else if (line.len > 0) {
            fprintf(stderr, "%.*s\n", STR_ARGS(line));
        }
    }
    if (input->json) {
        json_t *all = json_pack("{s:s,s:b,s:O}", "file", name, "good", 0, "errors", list);
        cli_print_json(all);
        json_decref(all);
    }
    json_decref(list);
    return EX_CONFIG;
}

/* Reads and parses; on failure says why. */
static int load(const struct cli_input *input, const char *name, struct config **config)
{
    struct buf text = buf_make(FILE_MAX);
    struct buf errors = buf_make(ERRORS_MAX);
    int code = read_file(input, name, &text);
    if (code == EX_OK && !config_parse(buf_str(&text), name, config, &errors)) {
        code = report_errors(input, name, buf_str(&errors));
    }
    buf_free(&text);
    buf_free(&errors);
    return code;
}

static const char *file_of(const struct cli_input *input)
{
    const char *name = cli_option_value(input, "--config");
    return name != NULL ? name : input->argument_count > 0 ? input->arguments[0] : CLI_CONFIG_FILE;
}

int cli_config_check(const struct cli_input *input)
{
    struct config *config = NULL;
    const char *name = file_of(input);
    int code = load(input, name, &config);
    if (code != EX_OK) {
        return code;
    }
    if (input->json) {
        json_t *all = json_pack("{s:s,s:b,s:[]}", "file", name, "good", 1, "errors");
        cli_print_json(all);
        json_decref(all);
    } else {
        printf("%s: no errors; %zu listeners, %zu domains, %zu routes\n", name, config->listener_count,
               config->domain_count, config->route_count);
    }
    config_unref(config);
    return EX_OK;
}

/* A list's pointer and, right behind it, its count. */
struct list_member {
    const void *items;
    size_t count;
};

static json_t *list_value(const struct setting *setting, const void *at)
{
    struct list_member list;
    memcpy(&list, at, sizeof(list));
    json_t *value = json_array();
    for (size_t i = 0; i < list.count; i++) {
        if (setting->type == SETTING_SCHEDULE) {
            json_array_append_new(value, json_integer(((const uint32_t *)list.items)[i]));
        } else {
            struct str item = ((const struct str *)list.items)[i];
            json_array_append_new(value, json_stringn(item.data, item.len));
        }
    }
    return value;
}

static json_t *setting_value(const struct setting *setting, const void *base)
{
    const void *at = (const char *)base + setting->offset;
    switch (setting->type) {
    case SETTING_TEXT:
    case SETTING_DOMAIN:
    case SETTING_HOST:
    case SETTING_MAIL: {
        const struct str *text = at;
        return json_stringn(text->data, text->len);
    }
    case SETTING_ADDRESSES:
    case SETTING_SERVERS:
    case SETTING_ZONES:
    case SETTING_SCHEDULE: return list_value(setting, at);
    case SETTING_SIZE: return json_integer((json_int_t) * (const uint64_t *)at);
    case SETTING_COUNT: return json_integer(*(const unsigned *)at);
    case SETTING_SECONDS: return json_integer(*(const uint32_t *)at);
    case SETTING_FLAG: return json_boolean(*(const bool *)at);
    case SETTING_CHOICE:
        return json_string(setting->words[setting->max == 1 ? *(const bool *)at : *(const int *)at]);
    case SETTING_CHARACTER: return json_stringn(at, *(const char *)at == '\0' ? 0 : 1);
    }
    return json_null();
}

static json_t *section_object(const struct section *section, const void *base)
{
    json_t *object = json_object();
    for (size_t i = 0; i < section->count; i++) {
        json_object_set_new(object, section->settings[i].name, setting_value(&section->settings[i], base));
    }
    return object;
}

/* Titled sections become an object by title; what stands outside all sections stays at the top. */
static json_t *config_object(const struct config *config)
{
    json_t *all = json_object();
    for (size_t s = 0; s < config_section_count; s++) {
        const struct section *section = &config_sections[s];
        const char *base = (const char *)config + section->offset;
        if (section->name[0] == '\0') {
            json_t *top = section_object(section, base);
            json_object_update(all, top);
            json_decref(top);
        } else if (!section->titled) {
            json_object_set_new(all, section->name, section_object(section, base));
        } else {
            struct list_member list;
            memcpy(&list, base, sizeof(list));
            json_t *titled = json_object();
            for (size_t i = 0; i < list.count; i++) {
                const char *item = (const char *)list.items + i * section->size;
                const struct str *name = (const struct str *)(const void *)item;
                json_object_setn_new(titled, name->data, name->len, section_object(section, item));
            }
            json_object_set_new(all, section->name, titled);
        }
    }
    return all;
}

static void print_word(struct str text)
{
    putchar('"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            putchar('\\');
        }
        putchar(text.data[i]);
    }
    putchar('"');
}

static void print_value(const struct setting *setting, const json_t *value)
{
    static const struct {
        json_int_t factor;
        char size;
        char time;
    } units[] = {{1 << 30, 'G', 0}, {1 << 20, 'M', 0}, {1 << 10, 'K', 0},
                 {86400, 0, 'd'},   {3600, 0, 'h'},    {60, 0, 'm'}};
    json_int_t number = json_integer_value(value);
    bool size = setting->type == SETTING_SIZE;
    bool time = setting->type == SETTING_SECONDS || setting->type == SETTING_SCHEDULE;
    if (json_is_array(value)) {
        fputs("{", stdout);
        for (size_t i = 0; i < json_array_size(value); i++) {
            fputs(i == 0 ? "" : ", ", stdout);
            print_value(setting, json_array_get(value, i));
        }
        fputs("}", stdout);
    } else if (json_is_string(value)) {
        print_word(str_make(json_string_value(value), json_string_length(value)));
    } else if (json_is_boolean(value)) {
        fputs(json_is_true(value) ? "true" : "false", stdout);
    } else {
        for (size_t i = 0; number > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
            char unit = size ? units[i].size : time ? units[i].time : '\0';
            if (unit != '\0' && number % units[i].factor == 0) {
                printf("%lld%c", number / units[i].factor, unit);
                return;
            }
        }
        printf("%lld%s", number, time ? "s" : "");
    }
}

static void print_section(const struct section *section, const void *base, const char *indent)
{
    for (size_t i = 0; i < section->count; i++) {
        json_t *value = setting_value(&section->settings[i], base);
        printf("%s%s = ", indent, section->settings[i].name);
        print_value(&section->settings[i], value);
        putchar('\n');
        json_decref(value);
    }
}

static void print_config(const struct config *config)
{
    for (size_t s = 0; s < config_section_count; s++) {
        const struct section *section = &config_sections[s];
        const char *base = (const char *)config + section->offset;
        struct list_member list = {.items = base, .count = 1};
        if (section->name[0] == '\0') {
            print_section(section, base, "");
            continue;
        }
        if (section->titled) {
            memcpy(&list, base, sizeof(list));
        }
        for (size_t i = 0; i < list.count; i++) {
            const char *item = (const char *)list.items + i * section->size;
            printf("\n%s ", section->name);
            if (section->titled) {
                print_word(*(const struct str *)(const void *)item);
                putchar(' ');
            }
            puts("{");
            print_section(section, item, "    ");
            puts("}");
        }
    }
}

int cli_config_show(const struct cli_input *input)
{
    struct config *config = NULL;
    int code = load(input, file_of(input), &config);
    if (code != EX_OK) {
        return code;
    }
    if (input->json) {
        json_t *all = config_object(config);
        cli_print_json(all);
        json_decref(all);
    } else {
        print_config(config);
    }
    config_unref(config);
    return EX_OK;
}
