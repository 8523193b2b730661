/* ENVELOPE; see envelope.h. */
#include "message/envelope.h"

#include "message/addresslist.h"
#include "message/header.h"
#include "message/imapstring.h"
#include "message/token.h"

enum { FIELD_MAX = 65536 }; /* bytes of a field that are looked at */

static struct str *slot_of(struct envelope *e, struct str name)
{
    switch (name.len) {
    case 2:
        return str_equal_nocase(name, STR("to")) ? &e->to : str_equal_nocase(name, STR("cc")) ? &e->cc : NULL;
    case 3: return str_equal_nocase(name, STR("bcc")) ? &e->bcc : NULL;
    case 4:
        return str_equal_nocase(name, STR("from"))   ? &e->from
               : str_equal_nocase(name, STR("date")) ? &e->date
                                                     : NULL;
    case 6: return str_equal_nocase(name, STR("sender")) ? &e->sender : NULL;
    case 7: return str_equal_nocase(name, STR("subject")) ? &e->subject : NULL;
    case 8: return str_equal_nocase(name, STR("reply-to")) ? &e->reply_to : NULL;
    case 10:
        return str_equal_nocase(name, STR("message-id"))   ? &e->message_id
               : str_equal_nocase(name, STR("references")) ? &e->references
                                                           : NULL;
    case 11: return str_equal_nocase(name, STR("in-reply-to")) ? &e->in_reply_to : NULL;
    default: return NULL;
    }
}

void envelope_take(struct envelope *envelope, struct str name, struct str value)
{
    struct str *slot = slot_of(envelope, name);
    if (slot != NULL && slot->data == NULL) {
        *slot = str_sub(token_trim(value), 0, FIELD_MAX);
    }
}

void envelope_read(struct str header, struct envelope *envelope)
{
    *envelope = (struct envelope){.date = {.data = NULL}};
    struct header_iterator iterator = {.message = header};
    struct header_field field;
    while (header_next(&iterator, &field)) {
        envelope_take(envelope, field.name, field.value);
    }
}

/* `scratch` is for the clean form of the words. */
static void append_name(const struct addresslist_entry *entry, struct buf *scratch, struct buf *out)
{
    buf_clear(scratch);
    addresslist_append_name(entry, scratch);
    out->failed = out->failed || scratch->failed;
    imapstring_append_nil(buf_str(scratch), out);
}

static void append_word(struct str word, struct str missing, struct buf *scratch, struct buf *out)
{
    buf_clear(scratch);
    addresslist_append_word(word, scratch);
    out->failed = out->failed || scratch->failed;
    imapstring_append_nil(scratch->len == 0 ? missing : buf_str(scratch), out);
}

static void append_entry(const struct addresslist_entry *entry, struct buf *scratch, struct buf *out)
{
    switch (entry->kind) {
    case ADDRESSLIST_GROUP_END: buf_append_lit(out, "(NIL NIL NIL NIL)"); return;
    case ADDRESSLIST_GROUP_BEGIN:
        buf_clear(scratch);
        addresslist_append_name(entry, scratch);
        out->failed = out->failed || scratch->failed;
        buf_append_lit(out, "(NIL NIL ");
        imapstring_append(buf_str(scratch), out);
        buf_append_lit(out, " NIL)");
        return;
    case ADDRESSLIST_MAILBOX: break;
    }
    buf_append_char(out, '(');
    append_name(entry, scratch, out);
    buf_append_char(out, ' ');
    append_word(entry->route, STR_EMPTY, scratch, out);
    buf_append_char(out, ' ');
    /* NIL would begin or end a group; clients know these two words from Dovecot. */
    append_word(entry->local, STR("MISSING_MAILBOX"), scratch, out);
    buf_append_char(out, ' ');
    append_word(entry->domain, STR("MISSING_DOMAIN"), scratch, out);
    buf_append_char(out, ')');
}

bool envelope_append_addresses(struct str value, struct buf *out)
{
    char area[1024];
    struct buf scratch = buf_make(FIELD_MAX);
    struct addresslist list = {.text = value};
    struct addresslist_entry entry;
    size_t before = out->len;
    if (value.len <= sizeof(area)) { /* nothing that comes out of a field is longer than the field */
        scratch = (struct buf){.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    }
    buf_append_char(out, '(');
    while (buf_ok(out) && addresslist_next(&list, &entry)) {
        append_entry(&entry, &scratch, out);
    }
    if (scratch.data != area) {
        buf_free(&scratch);
    }
    if (out->len == before + 1) {
        buf_truncate(out, before);
        return buf_append_lit(out, "NIL");
    }
    return buf_append_char(out, ')');
}

/* Sender and Reply-To default to From, also when they are there but empty. */
static void append_default(struct str value, struct str from, struct buf *out)
{
    size_t before = out->len;
    envelope_append_addresses(value, out);
    if (out->len == before + 3 && from.len > 0 && buf_ok(out)) {
        buf_truncate(out, before);
        envelope_append_addresses(from, out);
    }
}

bool envelope_append(const struct envelope *e, struct buf *out)
{
    const struct str lists[] = {e->to, e->cc, e->bcc};
    buf_append_char(out, '(');
    imapstring_append_field(e->date.data != NULL, e->date, out);
    buf_append_char(out, ' ');
    imapstring_append_field(e->subject.data != NULL, e->subject, out);
    buf_append_char(out, ' ');
    size_t from_at = out->len;
    envelope_append_addresses(e->from, out);
    size_t from_len = out->len - from_at;
    for (unsigned i = 0; i < 2; i++) {
        struct str value = i == 0 ? e->sender : e->reply_to;
        buf_append_char(out, ' ');
        if (value.len > 0) {
            append_default(value, e->from, out);
        } else if (buf_reserve(out, from_len) != NULL) { /* the same bytes once more */
            memcpy(out->data + out->len, out->data + from_at, from_len);
            out->len += from_len;
        }
    }
    for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        buf_append_char(out, ' ');
        envelope_append_addresses(lists[i], out);
    }
    buf_append_char(out, ' ');
    imapstring_append_field(e->in_reply_to.data != NULL, e->in_reply_to, out);
    buf_append_char(out, ' ');
    imapstring_append_field(e->message_id.data != NULL, e->message_id, out);
    return buf_append_char(out, ')');
}
