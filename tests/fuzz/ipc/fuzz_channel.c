/*
 * A hostile peer on a channel of each protocol (goal G18): packets of any content, with and without descriptors. The receiver
 * hears whole messages of the protocol or the end of the channel, once; what it hears encodes to the same packet again; no
 * descriptor is left over.
 *
 * Input: the protocol, whether a hello comes first, then packets, each behind its length (15 bits) and whether descriptors go
 * with it (1 bit: one; a length of 1: two).
 */
#include "ipc/channel.h"
#include "ipc/proto_auth.h"
#include "ipc/proto_change.h"
#include "ipc/proto_control.h"
#include "ipc/proto_credential.h"
#include "ipc/proto_directory.h"
#include "ipc/proto_fulltext.h"
#include "ipc/proto_log.h"
#include "ipc/proto_mailbox.h"
#include "ipc/proto_queue.h"
#include "ipc/proto_resolve.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct ipc_receives *const protocols[] = {
    &auth_from_keys,        &auth_to_keys,        &body_to_reader,       &body_to_relay,
    &change_from_store,     &change_to_store,     &control_to_role,      &control_to_supervisor,
    &credential_to_keys,    &credential_to_store, &directory_to_reader,  &directory_to_smtpd,
    &log_to_smtpd,          &log_to_store,        &mailbox_from_reader,  &mailbox_to_reader,
    &fulltext_to_store,     &fulltext_to_indexer, &queue_to_relay,       &queue_to_store,
    &resolve_from_resolver, &resolve_to_resolver, &route_secret_to_keys, &route_secret_to_relay};

enum { PROTOCOLS = sizeof(protocols) / sizeof(protocols[0]), FDS_MAX = 2, PASSES = 6 };

struct receiver {
    const struct ipc_receives *receives;
    struct str sent; /* the packet under way */
    bool closed;
};

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void heard(void *context, struct channel *channel, const struct ipc_type *type, const void *message,
                  int fd)
{
    (void)channel;
    struct receiver *receiver = context;
    bool ours = false;
    for (size_t i = 0; i < receiver->receives->type_count; i++) {
        ours = ours || receiver->receives->types[i] == type;
    }
    require(ours && !receiver->closed && type->carries_fd == (fd >= 0));
    struct buf again = buf_make(IPC_PACKET_MAX);
    require(ipc_encode(type, message, &again) && str_equal(buf_str(&again), receiver->sent));
    buf_free(&again);
    if (fd >= 0) {
        close(fd);
    }
}

static void ended(void *context, struct channel *channel, const char *reason)
{
    (void)channel;
    struct receiver *receiver = context;
    require(!receiver->closed && reason != NULL);
    receiver->closed = true;
}

static const struct channel_handler handler = {.message = heard, .closed = ended};

static void send_packet(int socket, struct str packet, const int *fds, size_t fd_count)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS_MAX * sizeof(int))] = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)packet.data, .iov_len = packet.len};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *with = CMSG_FIRSTHDR(&header);
        with->cmsg_level = SOL_SOCKET;
        with->cmsg_type = SCM_RIGHTS;
        with->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(with), fds, fd_count * sizeof(int));
    }
    (void)!sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The lowest free descriptor: the same before and after if none is left over. */
static int lowest_free(int fd)
{
    int copy = dup(fd);
    close(copy);
    return copy;
}

static void attack(struct loop *loop, struct receiver *receiver, int socket, struct str input,
                   const int fds[FDS_MAX])
{
    while (input.len >= 2 && !receiver->closed) {
        unsigned head = (unsigned char)input.data[0] | (unsigned)(unsigned char)input.data[1] << 8;
        size_t len = head >> 1;
        input = str_from(input, 2);
        receiver->sent = str_sub(input, 0, len);
        send_packet(socket, receiver->sent, fds, (head & 1) == 0 ? 0 : len == 1 ? 2 : 1);
        input = str_from(input, receiver->sent.len);
        loop_pass(loop, false);
        loop_pass(loop, false);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int unused = -1;
    static int fds[FDS_MAX] = {unused, unused};
    if (fds[0] < 0) {
        fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        fds[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (size < 2) {
        return 0;
    }
    int before = lowest_free(fds[0]);
    struct receiver receiver = {.receives = protocols[data[0] % PROTOCOLS]};
    struct loop *loop = loop_new();
    int pair[2];
    require(loop != NULL && channel_pair(pair) == 0);
    struct channel *channel = channel_open(loop, pair[0], receiver.receives, &handler, &receiver, "fuzz");
    require(channel != NULL);
    if ((data[1] & 1) == 0) {
        unsigned version = receiver.receives->version;
        const char hello[] = {0, 0, (char)version, (char)(version >> 8), 's', 'd', 'r', 'v'};
        send_packet(pair[1], str_make(hello, sizeof(hello)), NULL, 0);
        loop_pass(loop, false);
    }
    attack(loop, &receiver, pair[1], str_make((const char *)data + 2, size - 2), fds);
    close(pair[1]);
    for (int i = 0; i < PASSES && !receiver.closed; i++) {
        loop_pass(loop, false);
    }
    require(receiver.closed); /* whatever came, the end is noticed */
    loop_pass(loop, false);
    loop_free(loop);
    require(lowest_free(fds[0]) == before);
    return 0;
}
