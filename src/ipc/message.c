/* Encoding and decoding of messages between roles, from their tables; see message.h. */
#include "ipc/message.h"

static size_t width_of(uint8_t kind)
{
    switch (kind) {
    case IPC_U8: return 1;
    case IPC_U16: return 2;
    case IPC_U32: return 4;
    default: return 8;
    }
}

static uint64_t load_member(const struct ipc_field *field, const void *message)
{
    const char *at = (const char *)message + field->offset;
    uint64_t value = 0;
    /* Members are in the machine's order, which on every supported machine is little-endian. */
    memcpy(&value, at, width_of(field->kind));
    return value;
}

static bool encode_field(const struct ipc_field *field, const void *message, struct buf *out)
{
    if (field->kind == IPC_STR) {
        struct str s;
        memcpy(&s, (const char *)message + field->offset, sizeof(s));
        return s.len <= field->max && buf_append_le32(out, (uint32_t)s.len) && buf_append_str(out, s);
    }
    uint64_t value = load_member(field, message);
    return (field->max == 0 || value <= field->max) && buf_append(out, &value, width_of(field->kind));
}

bool ipc_encode(const struct ipc_type *type, const void *message, struct buf *out)
{
    size_t start = out->len;
    bool fine = buf_append_le16(out, type->number);
    for (size_t i = 0; fine && i < type->field_count; i++) {
        fine = encode_field(&type->fields[i], message, out);
    }
    if (!fine || out->len - start > IPC_PACKET_MAX) {
        buf_truncate(out, start);
        return false;
    }
    return true;
}

bool ipc_peek(struct str packet, uint16_t *number)
{
    if (packet.len < sizeof(*number)) {
        return false;
    }
    memcpy(number, packet.data, sizeof(*number));
    return true;
}

static bool decode_field(const struct ipc_field *field, struct str *rest, void *message)
{
    char *member = (char *)message + field->offset;
    if (field->kind == IPC_STR) {
        uint32_t len;
        if (rest->len < sizeof(len)) {
            return false;
        }
        memcpy(&len, rest->data, sizeof(len));
        if (len > field->max || len > rest->len - sizeof(len)) {
            return false;
        }
        struct str s = str_make(rest->data + sizeof(len), len);
        memcpy(member, &s, sizeof(s));
        *rest = str_from(*rest, sizeof(len) + len);
        return true;
    }
    size_t width = width_of(field->kind);
    if (rest->len < width) {
        return false;
    }
    uint64_t value = 0;
    memcpy(&value, rest->data, width);
    if (field->max != 0 && value > field->max) {
        return false;
    }
    memcpy(member, &value, width);
    *rest = str_from(*rest, width);
    return true;
}

bool ipc_decode(const struct ipc_type *type, struct str packet, void *message)
{
    uint16_t number;
    if (!ipc_peek(packet, &number) || number != type->number) {
        return false;
    }
    memset(message, 0, type->size);
    struct str rest = str_from(packet, sizeof(number));
    for (size_t i = 0; i < type->field_count; i++) {
        if (!decode_field(&type->fields[i], &rest, message)) {
            return false;
        }
    }
    return rest.len == 0;
}
