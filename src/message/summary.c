/* Making a summary; see summary.h. */
#include "message/summary.h"

#include "message/bodystructure.h"
#include "message/date.h"
#include "message/envelope.h"
#include "message/header.h"
#include "message/mailtext.h"
#include "message/subject.h"
#include "message/summary_private.h"

/* Names that clients ask for when they list a mailbox, and all that begin with "list-". */
static const struct {
    size_t len;
    const char *name;
} field_names[] = {
    {2, "to"},
    {2, "cc"},
    {3, "bcc"},
    {4, "from"},
    {4, "date"},
    {5, "lines"},
    {6, "sender"},
    {7, "subject"},
    {7, "x-label"},
    {8, "reply-to"},
    {8, "priority"},
    {10, "message-id"},
    {10, "references"},
    {10, "newsgroups"},
    {10, "importance"},
    {10, "x-priority"},
    {10, "user-agent"},
    {11, "in-reply-to"},
    {12, "content-type"},
    {12, "mime-version"},
    {12, "chat-version"},
    {13, "x-original-to"},
    {17, "x-k9mail-identity"},
    {19, "content-description"},
    {20, "chat-is-post-message"},
    {23, "autocrypt-setup-message"},
    {25, "content-transfer-encoding"},
    {25, "x-uniform-type-identifier"},
    {27, "disposition-notification-to"},
    {31, "x-microsoft-original-message-id"},
    {31, "x-universally-unique-identifier"},
};

bool summary_has_field(struct str name)
{
    if (name.len == 0) {
        return false;
    }
    char first = ascii_lower(name.data[0]);
    for (size_t i = 0; i < sizeof(field_names) / sizeof(field_names[0]); i++) {
        if (field_names[i].len == name.len && field_names[i].name[0] == first &&
            str_equal_nocase(name, str_make(field_names[i].name, name.len))) {
            return true;
        }
    }
    return first == 'l' && str_starts_nocase(name, STR("list-"));
}

/* Between the fields and the room for them. */
struct maker {
    const struct mime *mime;
    struct str before; /* fields in front of it */
    struct buf *out;
    size_t start; /* of the summary in `out` */
    unsigned present;
    uint32_t lengths[SUMMARY_TEXT_COUNT];
};

/* Keeps what was appended since `before`, or takes it back if it was too much. */
static void end_text(struct maker *maker, enum summary_text which, size_t before, bool complete)
{
    struct buf *out = maker->out;
    if (!complete || out->failed) {
        buf_truncate(out, before);
        out->failed = false; /* the room was reserved: what failed is this text alone */
        return;
    }
    maker->present |= 1U << which;
    maker->lengths[which] = (uint32_t)(out->len - before);
}

/* The fields that clients ask for, and those of the envelope. */
static void read_fields(struct str header, struct envelope *envelope, struct buf *fields)
{
    struct header_iterator iterator = {.message = header};
    struct header_field field;
    while (header_next(&iterator, &field)) {
        envelope_take(envelope, field.name, field.value);
        if (summary_has_field(field.name)) {
            buf_append_str(fields, field.whole);
        }
    }
}

static void append_subject(struct maker *maker, const struct envelope *envelope, bool *is_reply)
{
    size_t before = maker->out->len;
    bool ok = envelope->subject.len == 0 || subject_append_base(envelope->subject, is_reply, maker->out);
    end_text(maker, SUMMARY_BASE_SUBJECT, before, ok);
}

static void append_structures(struct maker *maker, const struct envelope *envelope)
{
    size_t before = maker->out->len;
    end_text(maker, SUMMARY_ENVELOPE, before, envelope_append(envelope, maker->out));
    before = maker->out->len;
    end_text(maker, SUMMARY_BODY, before, bodystructure_append(maker->mime, false, maker->out));
    before = maker->out->len;
    end_text(maker, SUMMARY_BODYSTRUCTURE, before, bodystructure_append(maker->mime, true, maker->out));
}

static uint64_t offset_in(const struct mime *mime, struct str slice)
{
    return (uint64_t)(slice.data - mime->message.data);
}

static void append_part(const struct maker *maker, const struct mime_part *part, struct buf *out)
{
    const struct mime *mime = maker->mime;
    bool is_root = part->parent == MIME_NONE;
    size_t shift = maker->before.len;
    buf_append_char(out, (char)part->kind);
    buf_append_char(out, (char)part->encoding);
    buf_append_le16(out, part->parent == MIME_NONE ? SUMMARY_NO_PARENT : (uint16_t)part->parent);
    buf_append_le32(out, part->number);
    buf_append_le64(out, is_root ? 0 : offset_in(mime, part->header) + shift);
    buf_append_le64(out, is_root ? part->header.len + shift : part->header.len);
    buf_append_le64(out, offset_in(mime, part->body) + shift);
    buf_append_le64(out, part->body.len);
}

/* The parts' place is kept free from the beginning, so they always fit. */
static uint32_t listed_parts(const struct mime *mime)
{
    return mime->count <= SUMMARY_PARTS_MAX ? mime->count : 0;
}

static void write_head(struct maker *maker, const struct envelope *envelope, bool is_reply)
{
    struct date_parsed date = {.seconds = 0};
    bool has_date = envelope->date.len > 0 && date_parse(envelope->date, &date);
    char *place = maker->out->data + maker->start;
    struct buf head = {.data = place, .cap = SUMMARY_HEAD_SIZE, .limit = SUMMARY_HEAD_SIZE};
    buf_append_char(&head, SUMMARY_VERSION);
    buf_append_char(&head, (char)((has_date ? SUMMARY_FLAG_DATE : 0) | (is_reply ? SUMMARY_FLAG_REPLY : 0)));
    buf_append_le16(&head, (uint16_t)maker->present);
    buf_append_le64(&head, maker->before.len + maker->mime->message.len);
    buf_append_le64(&head, (uint64_t)date.seconds);
    buf_append_le16(&head, (uint16_t)(int16_t)date.zone_minutes);
    buf_append_le16(&head, (uint16_t)listed_parts(maker->mime));
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        buf_append_le32(&head, maker->lengths[i]);
    }
}

static bool continues_field(struct str message)
{
    return message.len > 0 && (message.data[0] == ' ' || message.data[0] == '\t');
}

bool summary_encode(const struct mime *mime, struct str before, struct buf *out)
{
    struct maker maker = {.mime = mime, .before = before, .out = out, .start = out->len};
    struct envelope envelope = {.date = {.data = NULL}};
    struct buf fields = buf_make(SUMMARY_MAX);
    bool is_reply = false;
    if (buf_reserve(out, SUMMARY_MAX) == NULL || (before.len > 0 && continues_field(mime->message))) {
        return false;
    }
    uint32_t parts = listed_parts(mime);
    size_t limit = out->limit;
    out->limit = maker.start + SUMMARY_MAX - parts * (size_t)SUMMARY_PART_SIZE;
    out->len += SUMMARY_HEAD_SIZE;
    read_fields(before, &envelope, &fields);
    read_fields(mime->parts[0].header, &envelope, &fields);
    append_structures(&maker, &envelope);
    append_subject(&maker, &envelope, &is_reply);
    size_t at = out->len;
    end_text(&maker, SUMMARY_PREVIEW, at, mailtext_append_preview(mime, out));
    at = out->len;
    end_text(&maker, SUMMARY_FIELDS, at, buf_ok(&fields) && buf_append_str(out, buf_str(&fields)));
    buf_free(&fields);
    out->limit = limit;
    for (uint32_t i = 0; i < parts; i++) {
        append_part(&maker, &mime->parts[i], out);
    }
    write_head(&maker, &envelope, is_reply);
    return buf_ok(out);
}

bool summary_encode_chosen(const struct summary *summary, unsigned wanted, struct buf *out)
{
    unsigned flags =
        (summary->has_date ? SUMMARY_FLAG_DATE : 0U) | (summary->is_reply ? SUMMARY_FLAG_REPLY : 0U);
    unsigned present = 0;
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        present |= summary->has[i] ? wanted & 1U << i : 0;
    }
    buf_append_char(out, SUMMARY_VERSION);
    buf_append_char(out, (char)flags);
    buf_append_le16(out, (uint16_t)present);
    buf_append_le64(out, summary->size);
    buf_append_le64(out, (uint64_t)summary->date_seconds);
    buf_append_le16(out, (uint16_t)(int16_t)summary->zone_minutes);
    buf_append_le16(out, 0);
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        buf_append_le32(out, (present >> i & 1) != 0 ? (uint32_t)summary->texts[i].len : 0);
    }
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        buf_append_str(out, (present >> i & 1) != 0 ? summary->texts[i] : STR_EMPTY);
    }
    return buf_ok(out);
}
