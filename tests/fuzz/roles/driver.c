/* One role and hostile peers in one process; see driver.h. */
#include "driver.h"

#include "base/log.h"
#include "config/config.h"
#include "ipc/proto_log.h"
#include "store/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PACKET_MAX = IPC_PACKET_MAX, MESSAGE_MAX = 1024, STRINGS_MAX = 1 << 18, BODY_MAX = 300 };

void driver_require(bool condition)
{
    if (!condition) {
        abort();
    }
}

uint8_t input_octet(struct input *input)
{
    if (input->len == 0) {
        return 0;
    }
    input->len--;
    return *input->data++;
}

static struct str take(struct input *input, size_t len)
{
    len = len < input->len ? len : input->len;
    struct str taken = str_make((const char *)input->data, len);
    input->data += len;
    input->len -= len;
    return taken;
}

/* Setting up. */

static void hear_nothing(void *context, struct channel *channel, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)context;
    (void)channel;
    (void)type;
    (void)message;
    if (fd >= 0) {
        close(fd);
    }
}

static void ended(void *context, struct channel *channel, const char *reason)
{
    (void)context;
    (void)channel;
    (void)reason;
    abort(); /* the driver closes channels itself, and drains their other ends */
}

static const struct channel_handler handler = {.message = hear_nothing, .closed = ended};

static void connect_peer(struct driver *d, struct driver_peer *p)
{
    int pair[2];
    driver_require(channel_pair(pair) == 0);
    p->far = pair[1];
    p->instance++;
    p->peer = calloc(1, sizeof(*p->peer));
    driver_require(p->peer != NULL);
    *p->peer = (struct role_peer){.role = &d->role, .kind = p->kind, .instance = p->instance};
    p->peer->channel = channel_open(d->role.loop, pair[0], p->says, &handler, p, role_kind_name(p->kind));
    driver_require(p->peer->channel != NULL);
    p->peer->next = d->role.peers;
    d->role.peers = p->peer;
    if (d->role.module->peer_up != NULL) {
        d->role.module->peer_up(&d->role, p->peer);
    }
}

static void disconnect_peer(struct driver *d, struct driver_peer *p)
{
    for (size_t i = 0; i < DRIVER_SEGMENTS; i++) {
        if (d->segments[i].fd >= 0 && d->segments[i].peer == (size_t)(p - d->peers)) {
            close(d->segments[i].fd);
            d->segments[i].fd = -1;
        }
    }
    struct role_peer **link = &d->role.peers;
    while (*link != p->peer) {
        link = &(*link)->next;
    }
    *link = p->peer->next;
    channel_close(p->peer->channel);
    if (d->role.module->peer_down != NULL) {
        d->role.module->peer_down(&d->role, p->peer);
    }
    close(p->far);
    free(p->peer);
}

void driver_add_peer(struct driver *d, enum role_kind kind, const struct ipc_receives *says)
{
    driver_require(d->peer_count < DRIVER_PEERS);
    struct driver_peer *p = &d->peers[d->peer_count++];
    *p = (struct driver_peer){.kind = kind, .says = says};
    connect_peer(d, p);
}

void driver_renew_peers(struct driver *d)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        disconnect_peer(d, &d->peers[i]);
        connect_peer(d, &d->peers[i]);
    }
}

void driver_forbid(struct driver *d, const void *octets, size_t len, enum role_kind but)
{
    d->secrets[d->secret_count].octets = octets;
    d->secrets[d->secret_count].len = len;
    d->secrets[d->secret_count++].but = but;
}

void driver_secret(struct driver *d, enum secret_kind kind, const char *name, const void *octets, size_t len)
{
    int fd = memfd_create("secret", MFD_CLOEXEC);
    driver_require(fd >= 0 && write(fd, octets, len) == (ssize_t)len);
    d->role.module->secret(&d->role, kind, str_of(name), fd);
}

void driver_prepare(struct driver *d, const struct role_module *module, const char *config_text)
{
    static char dir[64];
    static char boot[DRIVER_BOOT + 1] = "0123456789abcdef0123456789abcdef";
    struct buf errors = buf_make(65536);
    memset(d, 0, sizeof(*d));
    log_setup("fuzz", 0, LOG_LEVEL_ERROR, false);
    snprintf(dir, sizeof(dir), "%s/veredus-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    driver_require(mkdtemp(dir) != NULL && chdir(dir) == 0);
    for (size_t i = 0; i < DRIVER_SEGMENTS; i++) {
        d->segments[i].fd = -1;
    }
    d->role = (struct role){
        .module = module, .kind = module->kind, .instance = 1, .data_dir = dir, .loop = loop_new()};
    memcpy(d->role.boot_id, boot, sizeof(d->role.boot_id));
    driver_require(d->role.loop != NULL &&
                   config_parse(str_of(config_text), "fuzz", &d->role.config, &errors));
    buf_free(&errors);
    int pair[2];
    driver_require(channel_pair(pair) == 0);
    d->control_far = pair[1];
    d->role.control = channel_open(d->role.loop, pair[0], &control_to_role, &handler, d, "supervisor");
    driver_require(d->role.control != NULL);
    for (size_t i = 0; i < sizeof(d->grant_key); i++) {
        d->grant_key[i] = (unsigned char)(7 + 37 * i); /* not what repeating one octet makes */
    }
}

void driver_start(struct driver *d)
{
    driver_require(d->role.module->prepare(&d->role) == 0 && d->role.module->start(&d->role) == 0);
    d->role.begun = true;
}

void driver_open(struct driver *d, const struct role_module *module, const char *config_text)
{
    driver_prepare(d, module, config_text);
    driver_secret(d, SECRET_GRANT_KEY, "", d->grant_key, sizeof(d->grant_key));
    driver_start(d);
}

/* What the role says. */

static void note_numbers(struct driver *d, const char *packet, size_t len)
{
    for (size_t at = 2; at + 8 <= len && at < 26; at += 8) {
        memcpy(&d->numbers[d->number_count++ % DRIVER_NUMBERS], packet + at, 8);
    }
}

static void check_secrets(const struct driver *d, enum role_kind to, const char *packet, size_t len)
{
    for (size_t i = 0; i < d->secret_count; i++) {
        driver_require(to == d->secrets[i].but ||
                       memmem(packet, len, d->secrets[i].octets, d->secrets[i].len) == NULL);
    }
}

static void take_segment(struct driver *d, size_t peer, uint64_t id, int fd)
{
    for (size_t i = 0; i < DRIVER_SEGMENTS; i++) {
        if (d->segments[i].fd < 0) {
            d->segments[i] = (struct driver_segment){.id = (int64_t)id, .fd = fd, .peer = peer};
            return;
        }
    }
    close(fd);
}

/* -1: nothing is there. */
static ssize_t read_packet(int far, char *packet, int *fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {packet, PACKET_MAX};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(far, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *fd = -1;
    struct cmsghdr *with = n < 0 ? NULL : CMSG_FIRSTHDR(&header);
    if (with != NULL && with->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(with), sizeof(*fd));
    }
    return n;
}

static void hear_peer(struct driver *d, size_t number)
{
    static char packet[PACKET_MAX];
    struct driver_peer *p = &d->peers[number];
    struct log_segment segment;
    int fd;
    for (ssize_t n; (n = read_packet(p->far, packet, &fd)) >= 0;) {
        note_numbers(d, packet, (size_t)n);
        check_secrets(d, p->kind, packet, (size_t)n);
        if (fd >= 0 && ipc_decode(&log_segment_type, str_make(packet, (size_t)n), &segment)) {
            take_segment(d, number, segment.segment, fd);
        } else if (fd >= 0) {
            close(fd);
        }
    }
}

/* As the supervisor on a file system without append-only flags. */
static void hear_control(struct driver *d)
{
    static char packet[PACKET_MAX];
    struct control_mark_segment mark;
    int fd;
    for (ssize_t n; (n = read_packet(d->control_far, packet, &fd)) >= 0;) {
        if (fd >= 0 && ipc_decode(&control_mark_segment_type, str_make(packet, (size_t)n), &mark)) {
            struct control_segment_marked marked = {.segment = mark.segment, .append_only = mark.append_only};
            d->role.module->control(&d->role, &control_segment_marked_type, &marked, -1);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
}

void driver_pass(struct driver *d)
{
    loop_pass(d->role.loop, false);
    hear_control(d);
    for (size_t i = 0; i < d->peer_count; i++) {
        hear_peer(d, i);
    }
    loop_pass(d->role.loop, false);
}

/* What peers say. */

static struct str word(uint8_t which)
{
    static const char *const words[] = {"INBOX",
                                        "Archive",
                                        "Archive/2023",
                                        "alice@example.org",
                                        "carol@example.org",
                                        "out@elsewhere.example",
                                        "$Work ",
                                        "",
                                        "secret",
                                        "192.0.2.1"};
    return str_of(words[which % (sizeof(words) / sizeof(words[0]))]);
}

/* What those say who mean mailboxes of others, or what to allow them. */
static struct str word_of_others(uint8_t which)
{
    static const char *const words[] = {"Other Users/victim@example.org/INBOX",
                                        "Other Users/victim@example.org/Archive",
                                        "Other Users/victim@example.org/Archive/2023",
                                        "Other Users/carol@example.org/Archive",
                                        "Other Users/carol@example.org/Archive/New",
                                        "Other Users/",
                                        "anyone",
                                        "-alice@example.org"};
    return str_of(words[which % (sizeof(words) / sizeof(words[0]))]);
}

static struct str grant_for(struct driver *d, const struct driver_peer *p, struct input *input, char *area)
{
    uint8_t choice = input_octet(input);
    struct grant grant = {.account = 1,
                          .issued_ms = 1700000000000,
                          .instance = p->instance + ((choice & 0x30) == 0x30),
                          .kind = (choice & 0xc0) == 0xc0 ? choice % ROLE_KINDS : (uint32_t)p->kind,
                          .boot = role_boot(&d->role)};
    grant_make(&grant, d->grant_key, (unsigned char *)area);
    if ((choice & 0x0f) == 0x0f) {
        area[choice % GRANT_SIZE] ^= 1; /* an imitation */
    }
    return str_make(area, GRANT_SIZE);
}

static struct str ranges(struct input *input, char *area, size_t room)
{
    struct buf out = {.data = area, .cap = room, .limit = room};
    for (unsigned count = input_octet(input) % 8; count > 0; count--) {
        uint32_t first = input_octet(input);
        buf_append_le32(&out, first);
        buf_append_le32(&out, first + input_octet(input) % 16);
    }
    return buf_str(&out);
}

static struct str make_text(struct driver *d, const struct driver_peer *p, struct input *input,
                            struct buf *strings, size_t max)
{
    char *area = strings->data + strings->len;
    size_t room = strings->cap - strings->len;
    struct str text = STR_EMPTY;
    uint8_t mode = input_octet(input);
    switch (mode % 8) {
    case 0: text = take(input, input_octet(input)); break;
    case 1:
    case 2: text = grant_for(d, p, input, area); break;
    case 3: text = ranges(input, area, room); break;
    case 4:
        text = str_make(area, (size_t)input_octet(input) * 300);
        memset(area, 'x', text.len < room ? text.len : room);
        break;
    case 5: text = word_of_others(mode >> 3); break;
    default: text = word(mode >> 3); break;
    }
    text = str_sub(text, 0, max < room ? max : room);
    if (text.len > 0 && text.data == area) {
        strings->len += text.len;
    }
    return text;
}

static uint64_t make_number(const struct driver *d, struct input *input, uint32_t max)
{
    static const uint64_t bounds[] = {
        0, 1, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, (uint64_t)INT64_MAX + 1, 1ULL << 40};
    uint8_t choice = input_octet(input);
    uint64_t value = choice >> 2;
    if (choice % 4 == 1) {
        value = d->numbers[(choice >> 2) % DRIVER_NUMBERS];
    } else if (choice % 4 == 2) {
        value = bounds[(choice >> 2) % 8];
    }
    return max == 0 ? value : value % ((uint64_t)max + 1);
}

static size_t width_of(uint8_t kind)
{
    return kind == IPC_U8 ? 1 : kind == IPC_U16 ? 2 : kind == IPC_U32 ? 4 : 8;
}

static void fill(struct driver *d, const struct driver_peer *p, const struct ipc_type *type,
                 struct input *input, char *message, struct buf *strings)
{
    for (size_t i = 0; i < type->field_count; i++) {
        const struct ipc_field *field = &type->fields[i];
        if (field->kind == IPC_STR) {
            struct str text = make_text(d, p, input, strings, field->max);
            memcpy(message + field->offset, &text, sizeof(text));
        } else {
            uint64_t value = make_number(d, input, field->max);
            memcpy(message + field->offset, &value, width_of(field->kind));
        }
    }
}

static void say(struct driver *d, struct driver_peer *p, struct input *input)
{
    static _Alignas(16) char message[MESSAGE_MAX];
    static char area[STRINGS_MAX];
    static char packet[PACKET_MAX];
    struct buf strings = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    struct buf out = {.data = packet, .cap = sizeof(packet), .limit = sizeof(packet)};
    const struct ipc_type *type = p->says->types[input_octet(input) % p->says->type_count];
    driver_require(type->size <= sizeof(message));
    memset(message, 0, sizeof(message));
    fill(d, p, type, input, message, &strings);
    if (!ipc_encode(type, message, &out)) {
        return; /* too long in sum: nobody can send it */
    }
    driver_require(ipc_decode(type, buf_str(&out), message));
    d->role.module->peer_message(&d->role, p->peer, type, message, -1);
}

/* Records in the log, as hostile as their writer. */

static bool make_envelope(struct driver *d, const struct driver_peer *p, struct input *input, struct buf *out)
{
    char grant[GRANT_SIZE];
    uint8_t choice = input_octet(input);
    struct record_envelope e = {.sender = word(choice >> 4),
                                .envelope_id = STR_EMPTY,
                                .grant = (choice & 1) != 0 ? grant_for(d, p, input, grant) : STR_EMPTY,
                                .login = STR_EMPTY,
                                .client = STR("192.0.2.1"),
                                .helo = STR("client.example"),
                                .tls = STR_EMPTY,
                                .retires = (choice & 2) != 0 ? take(input, 40) : STR_EMPTY,
                                .recipient_count = choice % 5};
    if (!record_encode_envelope(&e, out)) {
        return false;
    }
    for (unsigned i = (choice & 8) != 0 ? 1 : 0; i < e.recipient_count; i++) {
        uint8_t which = input_octet(input);
        struct record_recipient r = {.address = which < 200 ? word(which) : take(input, which % 32),
                                     .original = STR_EMPTY};
        record_encode_recipient(&r, out);
    }
    return true;
}

static void append_record(struct driver *d, struct driver_segment *segment, struct input *input)
{
    static char area[STRINGS_MAX];
    unsigned char bytes[RECORD_HEADER];
    struct buf out = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    uint8_t kind = input_octet(input);
    struct record_header header = {.kind = kind % 6, .wall_ms = 1700000000000};
    header.id = ident_make(1700000000000, kind < 16 ? kind : ++d->next_id << 16);
    uint8_t shape = input_octet(input);
    buf_truncate(&out, 0);
    for (size_t i = 0; i < RECORD_HEADER; i++) {
        buf_append_char(&out, '\0');
    }
    if ((shape & 0x40) != 0) {
        record_encode_summary(take(input, input_octet(input)), &out);
    }
    size_t envelope_at = out.len;
    if ((shape & 7) == 7 || !make_envelope(d, &d->peers[segment->peer], input, &out)) {
        buf_truncate(&out, envelope_at);
        buf_append_str(&out, take(input, input_octet(input)));
    }
    if (header.kind == RECORD_APPEND) {
        buf_truncate(&out, envelope_at);
    }
    struct str summary = str_sub(buf_str(&out), RECORD_HEADER, envelope_at);
    struct str envelope = str_from(buf_str(&out), envelope_at);
    struct str body = take(input, input_octet(input));
    if (!record_encode_header(&header, summary, envelope, STR_EMPTY, body, bytes)) {
        return;
    }
    memcpy(area, bytes, sizeof(bytes));
    buf_append_str(&out, body);
    while (out.len < header.total) {
        buf_append_char(&out, '\0');
    }
    if ((shape & 0x38) == 0x38 && out.len > 0) {
        out.data[input_octet(input) % out.len] ^= 0x10;
    }
    if ((shape & 0xc0) == 0xc0) {
        buf_truncate(&out, input_octet(input) % out.len);
    }
    ssize_t n = write(segment->fd, out.data, out.len);
    segment->end += n > 0 ? n : 0;
    /* So that what is said of it can be true. */
    d->numbers[d->number_count++ % DRIVER_NUMBERS] = (uint64_t)segment->id;
    d->numbers[d->number_count++ % DRIVER_NUMBERS] = (uint64_t)segment->end;
    if ((shape & 0xc0) == 0) {
        struct log_flushed flushed = {
            .segment = (uint64_t)segment->id, .offset = (uint64_t)segment->end, .records = 1};
        d->role.module->peer_message(&d->role, d->peers[segment->peer].peer, &log_flushed_type, &flushed, -1);
    }
}

static void write_log(struct driver *d, struct input *input)
{
    uint8_t which = input_octet(input);
    for (size_t i = 0; i < DRIVER_SEGMENTS; i++) {
        struct driver_segment *segment = &d->segments[(which + i) % DRIVER_SEGMENTS];
        if (segment->fd >= 0) {
            append_record(d, segment, input);
            return;
        }
    }
}

void driver_run(struct driver *d, struct input *input)
{
    while (input->len > 0) {
        uint8_t act = input_octet(input);
        struct driver_peer *p = &d->peers[(act >> 3) % d->peer_count];
        if (act % 8 == 5) {
            write_log(d, input);
        } else if (act % 8 == 6) {
            driver_pass(d);
        } else if (act % 8 == 7 && act >= 0xf0) {
            disconnect_peer(d, p);
            connect_peer(d, p);
        } else {
            say(d, p, input);
        }
    }
    driver_pass(d);
}

/* The fuzzer finds the secrets, since it sees what memmem() compares; what a peer says first, it may hear again. */
static bool holds_secret(const struct driver *d, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < d->secret_count; i++) {
        if (memmem(data, size, d->secrets[i].octets, d->secrets[i].len) != NULL) {
            return true;
        }
    }
    return false;
}

void driver_one(struct driver *d, void (*set_up)(void), const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    if (d->role.loop == NULL) {
        set_up();
    }
    if (holds_secret(d, data, size)) {
        return;
    }
    driver_pass(d);
    driver_run(d, &input);
    driver_renew_peers(d);
    driver_pass(d);
}
