/* Records of the log; see record.h. */
#include "store/record.h"

#include "base/crc32c.h"

static const unsigned char magic[4] = {'V', 'R', 'D', '1'};

static void put(unsigned char *at, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static uint64_t get(const unsigned char *at, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static uint64_t padded(uint64_t octets)
{
    return (octets + 7) & ~7ULL;
}

bool record_encode_header(struct record_header *h, struct str summary, struct str envelope, struct str trace,
                          struct str body, unsigned char out[RECORD_HEADER])
{
    uint64_t total = padded(RECORD_HEADER + (uint64_t)summary.len + envelope.len + trace.len + body.len);
    if (total > RECORD_TOTAL_MAX || envelope.len > RECORD_ENVELOPE_MAX || summary.len > RECORD_SUMMARY_MAX) {
        return false;
    }
    h->summary_len = (uint32_t)summary.len;
    h->total = (uint32_t)total;
    h->envelope_len = (uint32_t)envelope.len;
    h->trace_len = (uint32_t)trace.len;
    h->body_len = (uint32_t)body.len;
    h->payload_crc =
        crc32c(crc32c(crc32c(0, envelope.data, envelope.len), trace.data, trace.len), body.data, body.len);
    memset(out, 0, RECORD_HEADER);
    memcpy(out, magic, sizeof(magic));
    out[4] = h->kind;
    out[5] = summary.len > 0 ? RECORD_VERSION_SUMMARY : RECORD_VERSION;
    put(out + 6, h->flags, 2);
    put(out + 8, h->total, 4);
    put(out + 12, h->envelope_len, 4);
    put(out + 16, h->trace_len, 4);
    put(out + 20, h->body_len, 4);
    memcpy(out + 24, h->id.bytes, IDENT_SIZE);
    put(out + 36, h->summary_len, 4);
    put(out + 40, h->wall_ms, 8);
    put(out + 48, h->payload_crc, 4);
    put(out + 52, crc32c(0, out, 52), 4);
    return true;
}

void record_make_copy(unsigned char bytes[RECORD_HEADER], bool relayed)
{
    bytes[4] = RECORD_COPY;
    bytes[6] = (unsigned char)(relayed ? bytes[6] | RECORD_RELAYED : bytes[6] & ~RECORD_RELAYED);
    put(bytes + 52, crc32c(0, bytes, 52), 4);
}

enum record_state record_decode_header(const unsigned char bytes[RECORD_HEADER], struct record_header *h)
{
    if (memcmp(bytes, magic, sizeof(magic)) != 0 || get(bytes + 52, 4) != crc32c(0, bytes, 52) ||
        (bytes[5] != RECORD_VERSION && bytes[5] != RECORD_VERSION_SUMMARY)) {
        return RECORD_BAD;
    }
    h->kind = bytes[4];
    h->flags = (uint16_t)get(bytes + 6, 2);
    h->total = (uint32_t)get(bytes + 8, 4);
    h->envelope_len = (uint32_t)get(bytes + 12, 4);
    h->trace_len = (uint32_t)get(bytes + 16, 4);
    h->body_len = (uint32_t)get(bytes + 20, 4);
    memcpy(h->id.bytes, bytes + 24, IDENT_SIZE);
    h->wall_ms = get(bytes + 40, 8);
    h->payload_crc = (uint32_t)get(bytes + 48, 4);
    h->summary_len = bytes[5] == RECORD_VERSION_SUMMARY ? (uint32_t)get(bytes + 36, 4) : 0;
    /* A checksum only keeps accidents out: whoever writes the log could still lie. */
    uint64_t sum = padded(RECORD_HEADER + h->summary_len + record_payload_len(h));
    bool fine = sum == h->total && h->total <= RECORD_TOTAL_MAX && h->envelope_len <= RECORD_ENVELOPE_MAX &&
                h->summary_len <= RECORD_SUMMARY_MAX;
    return fine ? RECORD_GOOD : RECORD_BAD;
}

bool record_encode_summary(struct str summary, struct buf *out)
{
    return buf_append_le32(out, crc32c(0, summary.data, summary.len)) && buf_append_str(out, summary);
}

bool record_decode_summary(struct str section, struct str *summary)
{
    *summary = str_from(section, 4);
    return section.len > 4 &&
           get((const unsigned char *)section.data, 4) == crc32c(0, summary->data, summary->len);
}

/* Envelopes: numbers, and texts behind 16 bits of length. */

static bool add_text(struct str s, struct buf *out)
{
    return s.len <= UINT16_MAX && buf_append_le16(out, (uint16_t)s.len) && buf_append_str(out, s);
}

static bool take_number(struct str *rest, size_t width, uint32_t *value)
{
    if (rest->len < width) {
        return false;
    }
    *value = (uint32_t)get((const unsigned char *)rest->data, width);
    *rest = str_from(*rest, width);
    return true;
}

static bool take_text(struct str *rest, size_t max, struct str *text)
{
    uint32_t len;
    if (!take_number(rest, 2, &len) || len > rest->len || len > max) {
        return false;
    }
    *text = str_sub(*rest, 0, len);
    *rest = str_from(*rest, len);
    return true;
}

bool record_encode_envelope(const struct record_envelope *e, struct buf *out)
{
    return add_text(e->sender, out) && buf_append_char(out, (char)e->body_kind) &&
           buf_append_char(out, (char)e->ret) && add_text(e->envelope_id, out) && add_text(e->grant, out) &&
           add_text(e->login, out) && add_text(e->client, out) && add_text(e->helo, out) &&
           add_text(e->tls, out) && add_text(e->retires, out) && buf_append_le32(out, e->recipient_count);
}

bool record_encode_recipient(const struct record_recipient *r, struct buf *out)
{
    return add_text(r->address, out) && buf_append_char(out, (char)r->notify) && add_text(r->original, out);
}

bool record_address_is_clean(struct str address)
{
    for (size_t i = 0; i < address.len; i++) {
        if ((unsigned char)address.data[i] < 0x20 || address.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

bool record_decode_envelope(struct str bytes, struct record_envelope *e)
{
    uint32_t body_kind;
    uint32_t ret;
    struct str rest = bytes;
    bool fine = take_text(&rest, 512, &e->sender) && take_number(&rest, 1, &body_kind) &&
                take_number(&rest, 1, &ret) && take_text(&rest, 512, &e->envelope_id) &&
                take_text(&rest, 64, &e->grant) && take_text(&rest, 512, &e->login) &&
                take_text(&rest, 128, &e->client) && take_text(&rest, 512, &e->helo) &&
                take_text(&rest, 128, &e->tls) && take_text(&rest, RECORD_RETIRES_MAX, &e->retires) &&
                take_number(&rest, 4, &e->recipient_count) && e->recipient_count <= RECORD_RECIPIENTS_MAX &&
                body_kind <= 2 && ret <= 2 && record_address_is_clean(e->sender);
    if (!fine) {
        return false;
    }
    e->body_kind = (uint8_t)body_kind;
    e->ret = (uint8_t)ret;
    e->recipients = rest;
    return true;
}

bool record_next_recipient(struct str *rest, struct record_recipient *r)
{
    uint32_t notify;
    if (!take_text(rest, 512, &r->address) || !take_number(rest, 1, &notify) ||
        !take_text(rest, 600, &r->original)) {
        return false;
    }
    r->notify = (uint8_t)(notify & 15);
    return true;
}
