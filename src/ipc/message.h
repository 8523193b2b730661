/*
 * Typed messages between roles.
 *
 * Each message type is declared once, as a list of fields, in the header of the pair of roles
 * that speaks it (proto_*.h). IPC_MESSAGE makes a struct and a table from the list; one encoder and one
 * decoder work from the table. The decoder treats its input as hostile: every length and every bound is
 * checked, the packet must be used up exactly, and slices point into the packet, so they live
 * until the next packet is read.
 *
 * In a packet: the type as 16 bits, then the fields in order, integers little-endian, a STR as
 * 32 bits of length and its bytes. Both ends are the same binary on the same machine.
 */
#ifndef VEREDUS_IPC_MESSAGE_H
#define VEREDUS_IPC_MESSAGE_H

#include "base/buf.h"

enum {
    IPC_CHUNK_MAX = 65536,                /* bytes of body in one message */
    IPC_PACKET_MAX = IPC_CHUNK_MAX + 4096 /* bytes of a whole packet */
};

enum ipc_kind { IPC_U8, IPC_U16, IPC_U32, IPC_U64, IPC_STR };

struct ipc_field {
    uint8_t kind;
    uint16_t offset; /* of the member in the struct */
    uint32_t max;    /* STR: bytes; integers: largest value, 0 for any */
};

struct ipc_type {
    const char *name;
    uint16_t number; /* unique within its direction of its protocol */
    bool carries_fd; /* exactly one descriptor comes with it */
    size_t size;     /* of the struct */
    size_t field_count;
    const struct ipc_field *fields;
};

#define IPC_C_TYPE_U8                          uint8_t
#define IPC_C_TYPE_U16                         uint16_t
#define IPC_C_TYPE_U32                         uint32_t
#define IPC_C_TYPE_U64                         uint64_t
#define IPC_C_TYPE_STR                         struct str
#define IPC_MEMBER(message, kind, member, max) IPC_C_TYPE_##kind member;
#define IPC_FIELD(message, kind, member, max)  {IPC_##kind, offsetof(struct message, member), (max)},

/*
 * Declares struct `message` and the table `message_type`. FIELDS(F, M) lists F(M, kind, member, max);
 * `fd` is true if a descriptor comes with each message of this type. The table is weak, so that all files that include the
 * header mean the same one and types can be told apart by their addresses.
 */
#define IPC_MESSAGE(message, number_, fd, FIELDS)                                                            \
    struct message {                                                                                         \
        FIELDS(IPC_MEMBER, message)                                                                          \
    };                                                                                                       \
    static const struct ipc_field message##_fields[] = {FIELDS(IPC_FIELD, message)};                         \
    __attribute__((weak)) const struct ipc_type message##_type = {                                           \
        .name = #message,                                                                                    \
        .number = (number_),                                                                                 \
        .carries_fd = (fd),                                                                                  \
        .size = sizeof(struct message),                                                                      \
        .field_count = sizeof(message##_fields) / sizeof(message##_fields[0]),                               \
        .fields = message##_fields,                                                                          \
    }

/* Appends the packet; false if a value is beyond its bound or the buffer is full (then nothing is added). */
bool ipc_encode(const struct ipc_type *type, const void *message, struct buf *out);
/* The type number of a packet; false if it has none. */
bool ipc_peek(struct str packet, uint16_t *number);
/* Fills the struct (of type->size bytes); false if the packet is not exactly one such message. */
bool ipc_decode(const struct ipc_type *type, struct str packet, void *message);

#endif
