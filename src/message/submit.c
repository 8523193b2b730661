/* What submission does to a message's header; see submit.h. */
#include "message/submit.h"

#include "message/address.h"
#include "message/header.h"

static enum submit_result add_senders(struct str value, struct arena *arena, struct submit_senders *senders)
{
    struct address_iterator iterator = address_iterate(value);
    struct address_mailbox mailbox;
    enum address_step step;
    while ((step = address_next(&iterator, &mailbox)) == ADDRESS_MAILBOX) {
        char area[1024];
        struct buf normal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
        if (senders->count == SUBMIT_SENDERS_MAX || !address_append_normal(&mailbox, &normal)) {
            return SUBMIT_BAD_FROM;
        }
        struct str copy = arena_copy(arena, buf_str(&normal));
        if (copy.data == NULL) {
            return SUBMIT_NO_MEMORY;
        }
        senders->addresses[senders->count++] = copy;
    }
    return step == ADDRESS_END ? SUBMIT_OK : SUBMIT_BAD_FROM;
}

enum submit_result submit_read_senders(struct str message, struct arena *arena,
                                       struct submit_senders *senders)
{
    struct header_iterator iterator = {.message = message};
    struct header_field field;
    unsigned from = 0;
    bool from_has_address = false;
    senders->count = 0;
    while (header_next(&iterator, &field)) {
        bool is_from = str_equal_nocase(field.name, STR("From"));
        if (!is_from && !str_equal_nocase(field.name, STR("Sender"))) {
            continue;
        }
        from += is_from;
        if (from > 1) {
            return SUBMIT_SEVERAL_FROM;
        }
        size_t before = senders->count;
        enum submit_result result = add_senders(field.value, arena, senders);
        if (result != SUBMIT_OK) {
            return result;
        }
        from_has_address = from_has_address || (is_from && senders->count > before);
    }
    return from_has_address ? SUBMIT_OK : SUBMIT_NO_FROM;
}

static bool must_go(struct str name, bool submission)
{
    return str_equal_nocase(name, STR("Return-Path")) ||
           (submission && (str_equal_nocase(name, STR("Bcc")) || str_equal_nocase(name, STR("Resent-Bcc"))));
}

void submit_remove_fields(struct buf *message, bool submission)
{
    struct header_iterator iterator = {.message = buf_str(message)};
    struct header_field field;
    size_t kept = 0;
    size_t read = 0;
    while (header_next(&iterator, &field)) {
        if (!must_go(field.name, submission)) {
            if (kept != read) {
                memmove(message->data + kept, message->data + read, field.whole.len);
            }
            kept += field.whole.len;
        }
        read += field.whole.len;
    }
    if (kept != read) {
        memmove(message->data + kept, message->data + read, message->len - read);
        message->len -= read - kept;
    }
}

void submit_missing(struct str message, bool *date, bool *message_id)
{
    struct header_iterator iterator = {.message = message};
    struct header_field field;
    *date = true;
    *message_id = true;
    while ((*date || *message_id) && header_next(&iterator, &field)) {
        *date = *date && !str_equal_nocase(field.name, STR("Date"));
        *message_id = *message_id && !str_equal_nocase(field.name, STR("Message-ID"));
    }
}
