/* Values of settings: numbers with units, words, names, addresses and lists of them, with the bounds that the table gives. */
#include "config/config_private.h"

#include "base/domain.h"

#include <arpa/inet.h>

enum { SCHEDULE_ENTRY_MAX_S = 30 * 86400, NAME_AREA = 2 * DOMAIN_MAX };

/* Each returns NULL, or what is wrong. */

static const char *read_number(const struct setting *setting, struct str text, bool time, uint64_t *value)
{
    static const struct {
        const char *word;
        bool time;
        uint64_t factor;
    } units[] = {
        {"", false, 1},        {"", true, 1},           {"k", false, 1024},       {"kib", false, 1024},
        {"m", false, 1048576}, {"mib", false, 1048576}, {"g", false, 1073741824}, {"gib", false, 1073741824},
        {"s", true, 1},        {"m", true, 60},         {"h", true, 3600},        {"d", true, 86400}};
    size_t digits = 0;
    while (digits < text.len && ascii_is_digit(text.data[digits])) {
        digits++;
    }
    if (!str_to_u64(str_sub(text, 0, digits), UINT64_MAX / 1073741824, value)) {
        return time ? "is not a time: write a number with s, m, h or d" : "is not a number";
    }
    struct str unit = str_trim(str_from(text, digits));
    if (setting->type == SETTING_COUNT && unit.len > 0) {
        return "is not a plain number";
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].time == time && str_equal_nocase(unit, str_of(units[i].word))) {
            *value *= units[i].factor;
            return NULL;
        }
    }
    return time ? "has an unknown unit: write s, m, h or d" : "has an unknown unit: write K, M or G";
}

static const char *read_flag(struct str text, bool *value)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < 3; i++) {
        if (str_equal_nocase(text, str_of(yes[i])) || str_equal_nocase(text, str_of(no[i]))) {
            *value = str_equal_nocase(text, str_of(yes[i]));
            return NULL;
        }
    }
    return "is neither true nor false";
}

static void append_words(const struct setting *setting, struct buf *out)
{
    for (size_t i = 0; setting->words[i] != NULL; i++) {
        buf_printf(out, "%s%s",
                   i == 0                          ? ""
                   : setting->words[i + 1] == NULL ? " or "
                                                   : ", ",
                   setting->words[i]);
    }
}

static void read_choice(struct config_reader *reader, const struct setting *setting, struct str text,
                        void *target, unsigned line)
{
    size_t count = 0;
    for (; setting->words[count] != NULL; count++) {
        if (str_equal(text, str_of(setting->words[count]))) {
            if (setting->max == 1) { /* a choice of two that is kept as a bool */
                *(bool *)target = count == 1;
            } else {
                *(int *)target = (int)count;
            }
            return;
        }
    }
    char area[256];
    struct buf words = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct str near = config_nearest(text, setting->words, count);
    append_words(setting, &words);
    if (near.len > 0) {
        config_complain(reader, line, "%s: \"%.*s\" is not one of the words for it; did you mean \"%.*s\"?",
                        setting->name, STR_ARGS(text), STR_ARGS(near));
    } else {
        config_complain(reader, line, "%s: \"%.*s\" is not one of the words for it: write %.*s",
                        setting->name, STR_ARGS(text), STR_ARGS(buf_str(&words)));
    }
}

/* An IP address, perhaps with "@port" behind it. */
static bool is_ip(struct str text, bool with_port)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char value[16];
    size_t at = with_port ? str_find(text, 0, '@') : SIZE_MAX;
    uint64_t port = 1;
    if (at != SIZE_MAX && (!str_to_u64(str_from(text, at + 1), 65535, &port) || port == 0)) {
        return false;
    }
    struct str address = str_sub(text, 0, at);
    if (address.len == 0 || address.len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, address.data, address.len);
    copy[address.len] = '\0';
    return inet_pton(AF_INET, copy, value) == 1 || inet_pton(AF_INET6, copy, value) == 1;
}

/* Appends the form that is kept of a name, address and so on; what is wrong otherwise. */
static const char *text_form(enum setting_type type, struct str text, struct buf *out)
{
    unsigned char address[16];
    size_t len;
    struct str zone = str_sub(text, 0, str_find(text, 0, '='));
    size_t at = str_find_last(text, '@');
    switch (type) {
    case SETTING_DOMAIN:
        return text.len == 0 || (!domain_is_literal(text, address, &len) && domain_normalize(text, out))
                   ? NULL
                   : "is not a domain name";
    case SETTING_HOST:
        return is_ip(text, false) || domain_is_literal(text, address, &len)
                   ? (buf_append_str(out, text), NULL)
               : domain_normalize(text, out) ? NULL
                                             : "is neither a host's name nor an IP address";
    case SETTING_MAIL:
        return text.len == 0 || (at != SIZE_MAX && at > 0 && buf_append_str(out, str_sub(text, 0, at + 1)) &&
                                 domain_normalize(str_from(text, at + 1), out))
                   ? NULL
                   : "is no e-mail address: write name@domain";
    case SETTING_ADDRESSES:
        return is_ip(text, false) && buf_append_str(out, text) ? NULL : "is not an IP address";
    case SETTING_SERVERS:
        return is_ip(text, true) && buf_append_str(out, text)
                   ? NULL
                   : "is not a server: write 192.0.2.1 or 192.0.2.1@5353";
    case SETTING_ZONES:
        return zone.len < text.len && domain_normalize(zone, out) &&
                       is_ip(str_from(text, zone.len + 1), true) &&
                       buf_append_str(out, str_from(text, zone.len))
                   ? NULL
                   : "is not a zone with a server: write example.org=192.0.2.1@5353";
    default: buf_append_str(out, text); return NULL;
    }
}

static const char *read_text(struct config_reader *reader, const struct setting *setting, struct str text,
                             struct str *target)
{
    char area[NAME_AREA];
    if (text.len < setting->min && !setting_is_list(setting)) {
        return "must not be empty";
    }
    if (text.len > (setting_is_list(setting) ? sizeof(area) / 2 : setting->max)) {
        return "is too long";
    }
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f) {
            return "has a control character";
        }
    }
    struct buf form = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    const char *wrong = setting->type == SETTING_TEXT ? NULL : text_form(setting->type, text, &form);
    if (wrong != NULL) {
        return wrong;
    }
    *target = arena_copy(&reader->config->arena, setting->type == SETTING_TEXT ? text : buf_str(&form));
    return target->data == NULL ? "does not fit into memory" : NULL;
}

static const char *read_character(struct str text, char *target)
{
    if (text.len > 1) {
        return "is more than one character";
    }
    char c = text.len == 1 ? text.data[0] : '\0';
    if (c != '\0' && (ascii_is_alnum(c) || c <= ' ' || c == 0x7f || memchr("@.\"\\", c, 4) != NULL)) {
        return "cannot part a user from a tag: write + or - or another such character";
    }
    *target = c;
    return NULL;
}

/* "5 hours"-like figures for people: the bounds in the unit that the setting is written in. */
static void append_bound(const struct setting *setting, uint64_t value, struct buf *out)
{
    static const struct {
        uint64_t factor;
        enum setting_type type;
        const char *unit;
    } units[] = {{1 << 30, SETTING_SIZE, "G"},  {1 << 20, SETTING_SIZE, "M"}, {1 << 10, SETTING_SIZE, "K"},
                 {86400, SETTING_SECONDS, "d"}, {3600, SETTING_SECONDS, "h"}, {60, SETTING_SECONDS, "m"},
                 {1, SETTING_SECONDS, "s"}};
    for (size_t i = 0; value > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].type == setting->type && value % units[i].factor == 0) {
            buf_printf(out, "%llu%s", (unsigned long long)(value / units[i].factor), units[i].unit);
            return;
        }
    }
    buf_append_u64(out, value);
}

static const char *read_bounded(struct config_reader *reader, const struct setting *setting, struct str text,
                                void *target, unsigned line)
{
    uint64_t number = 0;
    const char *wrong = read_number(setting, text, setting->type == SETTING_SECONDS, &number);
    if (wrong != NULL) {
        return wrong;
    }
    if (number < setting->min || number > setting->max) {
        char area[96];
        struct buf bounds = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        buf_append_lit(&bounds, "at least ");
        append_bound(setting, setting->min, &bounds);
        buf_append_lit(&bounds, ", at most ");
        append_bound(setting, setting->max, &bounds);
        config_complain(reader, line, "%s: %.*s is out of bounds: %.*s", setting->name, STR_ARGS(text),
                        STR_ARGS(buf_str(&bounds)));
        return NULL;
    }
    if (setting->type == SETTING_SIZE) {
        *(uint64_t *)target = number;
    } else {
        *(uint32_t *)target = (uint32_t)number;
    }
    return NULL;
}

void config_read_value(struct config_reader *reader, const struct setting *setting, struct str text,
                       void *target, unsigned line)
{
    const char *wrong = NULL;
    switch (setting->type) {
    case SETTING_FLAG: wrong = read_flag(text, target); break;
    case SETTING_CHOICE: read_choice(reader, setting, text, target, line); break;
    case SETTING_CHARACTER: wrong = read_character(text, target); break;
    case SETTING_COUNT:
    case SETTING_SIZE:
    case SETTING_SECONDS: wrong = read_bounded(reader, setting, text, target, line); break;
    default: wrong = read_text(reader, setting, text, target); break;
    }
    if (wrong != NULL) {
        config_complain(reader, line, "%s: \"%.*s\" %s", setting->name, STR_ARGS(text), wrong);
    }
}

/* Lists. */

static const char *read_entry(struct config_reader *reader, const struct setting *setting, struct str text,
                              void *items, size_t i)
{
    if (setting->type != SETTING_SCHEDULE) {
        return text.len == 0 ? "must not be empty"
                             : read_text(reader, setting, text, (struct str *)items + i);
    }
    uint64_t seconds = 0;
    const char *wrong = read_number(setting, text, true, &seconds);
    if (wrong == NULL && (seconds == 0 || seconds > SCHEDULE_ENTRY_MAX_S)) {
        return "is out of bounds: at least 1s, at most 30d";
    }
    ((uint32_t *)items)[i] = (uint32_t)seconds;
    return wrong;
}

void config_read_list(struct config_reader *reader, const struct setting *setting, const struct str *items,
                      size_t count, void *target, unsigned line)
{
    if (count < setting->min) {
        config_complain(reader, line, "%s: the list is empty; it needs at least %llu entr%s", setting->name,
                        (unsigned long long)setting->min, setting->min == 1 ? "y" : "ies");
        return;
    }
    if (count > setting->max) {
        config_complain(reader, line, "%s: the list has %zu entries; at most %llu are possible",
                        setting->name, count, (unsigned long long)setting->max);
        return;
    }
    size_t size = setting->type == SETTING_SCHEDULE ? sizeof(uint32_t) : sizeof(struct str);
    void *copy = arena_alloc(&reader->config->arena, (count + 1) * size);
    if (copy == NULL) {
        config_complain(reader, line, "%s does not fit into memory", setting->name);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const char *wrong = read_entry(reader, setting, items[i], copy, i);
        if (wrong != NULL) {
            config_complain(reader, line, "%s: entry %zu, \"%.*s\", %s", setting->name, i + 1,
                            STR_ARGS(items[i]), wrong);
        }
    }
    struct config_list list = {.items = copy, .count = count};
    memcpy(target, &list, sizeof(list));
}
