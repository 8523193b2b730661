/*
 * Single header fields as another parser read them (../shared/vectors/mime): addresses, dates, parameters, ids, text, the
 * dates of Received. What departs is listed by number with the reason.
 */
#include "message/addresslist.h"
#include "message/charset.h"
#include "message/date.h"
#include "message/encoded_word.h"
#include "message/mime.h"
#include "message/msgid.h"
#include "message/parameter.h"
#include "message/token.h"
#include "vectors.h"

#include <stdio.h>

struct departure {
    size_t number; /* of the case, from 0 */
    const char *reason;
};

/* One case: appends what we make of `header` and what they do. */
typedef void reading(struct str header, const json_t *expected, struct buf *ours, struct buf *theirs);

static bool is_listed(size_t number, const struct departure *departures, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (departures[i].number == number) {
            return true;
        }
    }
    return false;
}

static void run(const char *file, reading *read, const struct departure *departures, size_t count,
                size_t cases)
{
    json_t *list = vectors_json(file);
    json_t *item;
    size_t number;
    unsigned wrong = 0;
    assert_non_null(list);
    assert_int_equal(json_array_size(list), cases);
    json_array_foreach(list, number, item)
    {
        struct buf ours = buf_make(1 << 20);
        struct buf theirs = buf_make(1 << 20);
        read(vectors_string(item, "header"), json_object_get(item, "expected"), &ours, &theirs);
        assert_true(buf_ok(&ours) && buf_ok(&theirs));
        bool same = str_equal(buf_str(&ours), buf_str(&theirs));
        if (same == is_listed(number, departures, count)) {
            wrong++;
            print_error("%s %zu: [%.*s] %s [%.*s] for [%.*s]\n", file, number, STR_ARGS(buf_str(&ours)),
                        same ? "is listed, but is" : "is not", STR_ARGS(buf_str(&theirs)),
                        STR_ARGS(vectors_string(item, "header")));
        }
        buf_free(&ours);
        buf_free(&theirs);
    }
    json_decref(list);
    assert_int_equal(wrong, 0);
}

#define RUN(file, read, departures, cases)                                                                   \
    run(file, read, departures, sizeof(departures) / sizeof((departures)[0]), cases)

/* The material has a field's value with what follows it in places; a field ends at a line break without a blank behind it. */
static struct str one_field(struct str header)
{
    for (size_t i = 0; i + 1 < header.len; i++) {
        if (header.data[i] == '\n' && header.data[i + 1] != ' ' && header.data[i + 1] != '\t') {
            return str_sub(header, 0, i);
        }
    }
    return header;
}

static void append_date(const struct date_parsed *date, struct buf *out)
{
    date_append((uint64_t)(date->seconds + 86400LL * 365 * 20) * 1000, out); /* some are before 1970 */
    buf_printf(out, " %d", date->zone_minutes);
}

static void read_date(struct str header, const json_t *expected, struct buf *ours, struct buf *theirs)
{
    struct date_parsed date;
    if (date_parse(header, &date)) {
        append_date(&date, ours);
    }
    if (json_is_object(expected)) {
        int numbers[8];
        static const char *const keys[] = {"year",   "month",  "day",     "hour",
                                           "minute", "second", "tz_hour", "tz_minute"};
        for (size_t i = 0; i < 8; i++) {
            numbers[i] = (int)json_integer_value(json_object_get(expected, keys[i]));
        }
        int zone = numbers[6] * 60 + numbers[7];
        zone = json_is_true(json_object_get(expected, "tz_before_gmt")) ? -zone : zone;
        /* An independent way to count: from the calendar's text through the other parser's numbers. */
        static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
        int years = numbers[0] - 1969;
        int64_t days =
            (int64_t)years * 365 - 365 + years / 4 + before[(numbers[1] + 11) % 12] + numbers[2] - 1;
        days += numbers[0] % 4 == 0 && numbers[1] > 2;
        date.seconds = days * 86400 + numbers[3] * 3600 + numbers[4] * 60 + numbers[5] - zone * 60;
        date.zone_minutes = zone;
        append_date(&date, theirs);
    }
}

static void test_dates(void **state)
{
    static const struct departure departures[] = {
        {12, "numbers without any mark: they take what comes for a time"},
        {14, "a comment that a line break does not end"},
        {28, "a whole Received field, not a date"},
    };
    RUN("mime/date.json", read_date, departures, 40);
    (void)state;
}

static void read_received(struct str header, const json_t *expected, struct buf *ours, struct buf *theirs)
{
    size_t semicolon = str_find_last(header, ';');
    read_date(semicolon == SIZE_MAX ? STR_EMPTY : str_from(header, semicolon + 1),
              json_object_get(expected, "date"), ours, theirs);
}

static void test_received(void **state)
{
    static const struct departure departures[] = {
        {13, "the year behind the time"},
        {67, "the zone PST, RFC 5322, section 4.3"},
        {89, "a year of two digits is one of 19xx for them"},
        {90, "a year of two digits is one of 19xx for them"},
        {117, "the year behind the time"},
        {118, "the year behind the time"},
        {128, "a year of two digits is one of 19xx for them"},
        {144, "seconds with a fraction"},
        {151, "the year behind the time"},
        {163, "the zone PDT"},
    };
    RUN("mime/received.json", read_received, departures, 181);
    (void)state;
}

static void append_addresses(const json_t *list, struct buf *out)
{
    size_t index;
    json_t *item;
    json_array_foreach(list, index, item)
    {
        buf_append_lit(out, "<");
        buf_append_str(out, vectors_string(item, "name"));
        buf_append_lit(out, "|");
        buf_append_str(out, vectors_string(item, "address"));
        buf_append_lit(out, ">");
    }
}

static void read_addresses(struct str header, const json_t *expected, struct buf *ours, struct buf *theirs)
{
    struct addresslist list = {.text = one_field(header)};
    struct addresslist_entry entry;
    struct buf name = buf_make(1 << 16);
    while (addresslist_next(&list, &entry)) {
        buf_clear(&name);
        addresslist_append_name(&entry, &name);
        if (entry.kind == ADDRESSLIST_GROUP_END) {
            buf_append_lit(ours, ";");
            continue;
        }
        if (entry.kind == ADDRESSLIST_GROUP_BEGIN) {
            encoded_word_append(buf_str(&name), ours);
            buf_append_lit(ours, ":");
            continue;
        }
        buf_append_lit(ours, "<");
        encoded_word_append(buf_str(&name), ours);
        buf_append_lit(ours, "|");
        addresslist_append_address(&entry, ours);
        buf_append_lit(ours, ">");
    }
    buf_free(&name);
    append_addresses(json_object_get(expected, "List"), theirs);
    size_t index;
    json_t *item;
    json_array_foreach(json_object_get(expected, "Group"), index, item)
    {
        bool named = json_is_string(json_object_get(item, "name"));
        buf_append_str(theirs, vectors_string(item, "name"));
        buf_append_str(theirs, named ? STR(":") : STR_EMPTY);
        append_addresses(json_object_get(item, "addresses"), theirs);
        buf_append_str(theirs, named ? STR(";") : STR_EMPTY);
    }
}

static void test_addresses(void **state)
{
    static const struct departure departures[] = {
        {8, "a comment beside a name is no part of it"},
        {9, "a comment beside a name is no part of it"},
        {10, "a comment beside a name is no part of it"},
        {11, "a comment beside a name is no part of it"},
        {13, "a source route and blanks of the obsolete syntax are left out"},
        {14, "a comment beside a name is no part of it, nor one in a domain of that"},
        {22, "a comment beside a name is no part of it"},
        {56, "a comment beside a name is no part of it"},
    };
    RUN("mime/address.json", read_addresses, departures, 60);
    (void)state;
}

/* The type and subtype through a message that has this field alone, then the values by name in the order of the names. */
static void read_content_type(struct str header, const json_t *expected, struct buf *ours, struct buf *theirs)
{
    struct mime mime = {.count = 0};
    struct buf message = buf_make(1 << 20);
    buf_append_lit(&message, "Content-Type:");
    buf_append_str(&message, header);
    size_t index;
    json_t *pair;
    json_array_foreach(json_object_get(expected, "attributes"), index, pair)
    {
        if (str_equal(str_of(json_string_value(json_array_get(pair, 0))),
                      STR("boundary"))) { /* else it were text/plain */
            buf_append_lit(&message, "\n\n--");
            buf_append_str(&message, str_of(json_string_value(json_array_get(pair, 1))));
            buf_append_lit(&message, "\n\npart\n");
        }
    }
    assert_true(mime_parse(&mime, buf_str(&message)));
    const struct mime_part *part = &mime.parts[0];
    struct str type = vectors_string(expected, "c_type");
    struct str subtype = vectors_string(expected, "c_subtype");
    buf_append_str(ours, part->type);
    buf_append_lit(ours, "/");
    buf_append_str(ours, part->subtype);
    buf_append_str(theirs, subtype.len == 0 ? STR("text") : type);
    buf_append_lit(theirs, "/");
    buf_append_str(theirs, subtype.len == 0 ? STR("plain") : subtype);
    for (size_t i = 0; i < ours->len; i++) {
        ours->data[i] = ascii_lower(ours->data[i]);
    }
    json_array_foreach(json_object_get(expected, "attributes"), index, pair)
    {
        const json_t *name = json_array_get(pair, 0);
        const json_t *value = json_array_get(pair, 1);
        if (str_ends(str_of(json_string_value(name)), STR("-language"))) {
            continue;
        }
        buf_append_lit(theirs, ";");
        buf_append(theirs, json_string_value(value), json_string_length(value));
        buf_append_lit(ours, ";");
        parameter_append_decoded(part->parameters, str_of(json_string_value(name)), ours);
    }
    mime_free(&mime);
    buf_free(&message);
}

static void test_content_types(void **state)
{
    static const struct departure departures[] = {
        {31, "later sections repeat the charset, against RFC 2231, section 4.1"},
        {34, "blanks between encoded words are nothing, in quotes too"},
        {55, "blanks at the end of a field that ends in an open quote"},
        {56, "as 55"},
        {59, "section 9999 without those before it, and a NUL"},
        {61, "names that are no names"},
    };
    RUN("mime/content_type.json", read_content_type, departures, 103);
    (void)state;
}

static void read_ids(struct str header, const json_t *expected, struct buf *ours, struct buf *theirs)
{
    struct msgid_list list = {.text = one_field(header)};
    struct str id;
    size_t index;
    json_t *item;
    bool any = false;
    while (msgid_next(&list, &id)) {
        any = true;
        buf_append_str(ours, id);
        buf_append_lit(ours, "|");
    }
    if (!any && msgid_single(list.text, &id)) {
        buf_append_str(ours, id);
        buf_append_lit(ours, "|");
    }
    json_array_foreach(expected, index, item)
    {
        buf_append(theirs, json_string_value(item), json_string_length(item));
        buf_append_lit(theirs, "|");
    }
}

static void test_ids(void **state)
{
    run("mime/id.json", read_ids, NULL, 0, 11);
    (void)state;
}

/* They make the blanks of a fold one space; so both sides are compared with every run of blanks as one. */
static void append_collapsed(struct str text, struct buf *out)
{
    text = token_trim(text);
    for (size_t i = 0; i < text.len; i++) {
        if (!token_is_blank(text.data[i])) {
            buf_append_char(out, text.data[i]);
        } else if (!token_is_blank(text.data[i - 1])) {
            buf_append_char(out, ' ');
        }
    }
}

static void read_text(struct str header, const json_t *expected, struct buf *ours, struct buf *theirs)
{
    struct buf decoded = buf_make(1 << 20);
    encoded_word_append(one_field(header), &decoded);
    append_collapsed(buf_str(&decoded), ours);
    append_collapsed(str_make(json_string_value(expected), json_string_length(expected)), theirs);
    buf_free(&decoded);
}

static void test_text(void **state)
{
    static const struct departure departures[] = {
        {21, "they put a space before a word that has none"},
        {27, "as 21"},
        {28, "as 21"},
    };
    RUN("mime/unstructured.json", read_text, departures, 30);
    (void)state;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates),     cmocka_unit_test(test_received),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_content_types),
        cmocka_unit_test(test_ids),       cmocka_unit_test(test_text),
    };
    vectors_begin(argc, argv);
    assert_int_equal(charset_preload(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
