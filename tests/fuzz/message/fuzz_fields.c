/*
 * The value of a header field that is anything, read as each kind of field: slices inside, groups that end, clean UTF-8
 * without line breaks, and a base subject that has nothing left to cut.
 */
#include "message/addresslist.h"
#include "message/charset.h"
#include "message/date.h"
#include "message/encoded_word.h"
#include "message/envelope.h"
#include "message/msgid.h"
#include "message/parameter.h"
#include "message/subject.h"
#include "message/summary.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool is_inside(struct str outer, struct str inner)
{
    return inner.len == 0 || (inner.data >= outer.data && inner.data + inner.len <= outer.data + outer.len);
}

static void check_addresses(struct str value)
{
    struct addresslist list = {.text = value};
    struct addresslist_entry entry;
    int open = 0;
    while (addresslist_next(&list, &entry)) {
        open += entry.kind == ADDRESSLIST_GROUP_BEGIN;
        open -= entry.kind == ADDRESSLIST_GROUP_END;
        must(open == 0 || open == 1);
        must(is_inside(value, entry.name) && is_inside(value, entry.comment) &&
             is_inside(value, entry.route));
        must(is_inside(value, entry.local) && is_inside(value, entry.domain));
    }
    must(open == 0);
    struct buf out = buf_make(1 << 22);
    struct envelope envelope = {.from = value, .subject = value, .in_reply_to = value};
    must(envelope_append(&envelope, &out));
    struct summary summary = {.has = {[SUMMARY_ENVELOPE] = true},
                              .texts = {[SUMMARY_ENVELOPE] = buf_str(&out)}};
    struct str text;
    must(summary_text(&summary, SUMMARY_ENVELOPE, &text));
    buf_free(&out);
}

static void check_clean(const struct buf *out)
{
    must(buf_ok(out) && str_is_utf8(buf_str(out)));
    must(str_find(buf_str(out), 0, '\n') == SIZE_MAX && str_find(buf_str(out), 0, '\r') == SIZE_MAX);
    must(str_find(buf_str(out), 0, '\0') == SIZE_MAX);
}

static void check_text(struct str value)
{
    struct buf out = buf_make(1 << 22);
    must(encoded_word_append(value, &out));
    check_clean(&out);
    buf_clear(&out);
    must(subject_append_base(value, NULL, &out));
    check_clean(&out);
    bool again;
    must(str_equal(subject_base(buf_str(&out), &again), buf_str(&out)) && !again);
    buf_free(&out);
}

static void check_parameters(struct str value)
{
    struct parameter_list list;
    struct buf name = buf_make(1 << 20);
    struct buf text = buf_make(1 << 20);
    struct buf out = buf_make(1 << 22);
    unsigned count = 0;
    parameter_list_parse(value, &list);
    for (unsigned i = 0; i < list.count; i++) {
        must(is_inside(value, list.items[i].name) && is_inside(value, list.items[i].value));
    }
    while (parameter_list_next(&list, &name, &text)) {
        struct str base = buf_str(&name);
        base.len -= base.len > 1 && base.data[base.len - 1] == '*';
        must(base.len > 0 && ++count <= list.count);
        parameter_append_decoded(value, base, &out);
        must(buf_ok(&out) && str_is_utf8(buf_str(&out)));
        buf_clear(&name);
        buf_clear(&text);
        buf_clear(&out);
    }
    buf_free(&name);
    buf_free(&text);
    buf_free(&out);
}

static void check_ids(struct str value)
{
    struct msgid_list list = {.text = value};
    struct str id;
    while (msgid_next(&list, &id)) {
        must(id.len > 0 && is_inside(value, id));
    }
    must(!msgid_single(value, &id) || is_inside(value, id));
}

static void check_date(struct str value)
{
    struct date_parsed date;
    if (date_parse(value, &date)) {
        must(date.zone_minutes >= -24 * 60 && date.zone_minutes <= 24 * 60);
        must(date.seconds > -70000000000 && date.seconds < 254000000000);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct str value = str_make(data, size);
    if (!ready) {
        ready = true;
        must(charset_preload() == 0);
    }
    check_addresses(value);
    check_text(value);
    check_parameters(value);
    check_ids(value);
    check_date(value);
    return 0;
}
