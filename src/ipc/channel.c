/* Channels between roles: batching, bounds and hostile input; see channel.h. */
#include "ipc/channel.h"

#include "base/mem.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    QUEUE_MAX = 8 << 20, /* bytes */
    FDS_MAX = 512,       /* descriptors waiting to be sent: a role is given some for each other process */
    BATCH = 16,          /* packets a system call */
    KEPT_MAX = 4 * IPC_PACKET_MAX,
    BATCHES_A_PASS = 4, /* then other descriptors get their turn */
    HELLO_LENGTH = 2 + 2 + 4
};

static const uint32_t HELLO_MAGIC = 0x76726473; /* "vrds" */

struct queued_fd {
    uint64_t packet; /* serial number of the packet it goes with */
    int fd;
};

struct channel {
    struct loop *loop;
    struct loop_watch watch;
    struct loop_task flush_task;
    struct loop_task free_task;
    const struct ipc_receives *receives;
    const struct channel_handler *handler;
    void *context;
    const char *name;
    int fd;
    bool greeted; /* the peer's hello has come */
    bool was_full;
    bool waiting_to_write;
    bool dead;
    struct buf queue; /* packets, each behind its length as 32 bits */
    size_t sent;      /* bytes at the queue's front that the kernel has taken */
    uint64_t queued_packets;
    uint64_t sent_packets;
    struct queued_fd fds[FDS_MAX];
    size_t fd_count;
};

/* One receive area for the process: packets are handled before the next are read. */
static char receive_area[BATCH][IPC_PACKET_MAX];

static void channel_free(void *context)
{
    struct channel *channel = context;
    buf_free(&channel->queue);
    mem_free(channel);
}

static void release(struct channel *channel)
{
    if (channel->dead) {
        return;
    }
    channel->dead = true;
    loop_unwatch(&channel->watch);
    loop_undefer(channel->loop, &channel->flush_task);
    close(channel->fd);
    channel->fd = -1;
    for (size_t i = 0; i < channel->fd_count; i++) {
        close(channel->fds[i].fd);
    }
    channel->fd_count = 0;
    /* Callers further up the stack may still look at it: it is freed when the pass ends. */
    loop_defer(channel->loop, &channel->free_task, channel_free, channel);
}

static void fail(struct channel *channel, const char *reason)
{
    if (channel->dead) {
        return;
    }
    release(channel);
    channel->handler->closed(channel->context, channel, reason);
}

void channel_close(struct channel *channel)
{
    if (channel != NULL) {
        release(channel);
    }
}

const char *channel_name(const struct channel *channel)
{
    return channel->name;
}

size_t channel_queued(const struct channel *channel)
{
    return channel->queue.len - channel->sent;
}

/* The descriptor that goes with the packet of this serial number, or -1. */
static int fd_of_packet(const struct channel *channel, uint64_t packet)
{
    for (size_t i = 0; i < channel->fd_count; i++) {
        if (channel->fds[i].packet == packet) {
            return channel->fds[i].fd;
        }
    }
    return -1;
}

static void drop_sent_fds(struct channel *channel)
{
    size_t kept = 0;
    for (size_t i = 0; i < channel->fd_count; i++) {
        if (channel->fds[i].packet < channel->sent_packets) {
            close(channel->fds[i].fd);
        } else {
            channel->fds[kept++] = channel->fds[i];
        }
    }
    channel->fd_count = kept;
}

struct fd_control {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(int))];
};

static void attach_fd(struct msghdr *header, struct fd_control *control, int fd)
{
    memset(control, 0, sizeof(*control));
    header->msg_control = control->bytes;
    header->msg_controllen = sizeof(control->bytes);
    struct cmsghdr *part = CMSG_FIRSTHDR(header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(part), &fd, sizeof(fd));
}

/* A want of memory or of room: the same is tried again in the next pass of the loop. All else means that the peer has ended. */
static bool is_passing(int error)
{
    return error == EAGAIN || error == EINTR || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS;
}

/* Sends up to BATCH packets. The number sent, 0 if the kernel takes none now, -1 if the peer is gone. */
static int send_batch(struct channel *channel)
{
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    struct fd_control controls[BATCH];
    size_t lengths[BATCH] = {0};
    unsigned count = 0;
    for (size_t at = channel->sent; count < BATCH && at < channel->queue.len; count++) {
        uint32_t len;
        memcpy(&len, channel->queue.data + at, sizeof(len));
        parts[count] = (struct iovec){.iov_base = channel->queue.data + at + sizeof(len), .iov_len = len};
        messages[count].msg_hdr.msg_iov = &parts[count];
        messages[count].msg_hdr.msg_iovlen = 1;
        int fd = channel->fd_count == 0 ? -1 : fd_of_packet(channel, channel->sent_packets + count);
        if (fd >= 0) {
            attach_fd(&messages[count].msg_hdr, &controls[count], fd);
        }
        lengths[count] = sizeof(len) + len;
        at += lengths[count];
    }
    int n = sendmmsg(channel->fd, messages, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        return is_passing(errno) ? 0 : -1;
    }
    for (int i = 0; i < n; i++) {
        channel->sent += lengths[i];
    }
    channel->sent_packets += (uint64_t)n;
    return n;
}

static void forget_sent(struct channel *channel)
{
    if (channel->queue.len > 0) {
        explicit_bzero(channel->queue.data, channel->queue.len); /* a password may have been in it */
    }
    channel->queue.len = 0;
    channel->sent = 0;
}

void channel_push(struct channel *channel)
{
    while (!channel->dead && channel->sent < channel->queue.len && send_batch(channel) > 0) {
        drop_sent_fds(channel);
    }
    if (channel->sent == channel->queue.len) {
        forget_sent(channel);
    }
}

static void flush(void *context)
{
    struct channel *channel = context;
    while (!channel->dead && channel->sent < channel->queue.len) {
        int n = send_batch(channel);
        if (n < 0) {
            fail(channel, "the peer is gone");
            return;
        }
        if (n == 0) {
            break;
        }
        drop_sent_fds(channel);
    }
    if (channel->sent == channel->queue.len) {
        bool burst = channel->queue.cap > KEPT_MAX; /* its memory is not kept */
        forget_sent(channel);
        if (burst) {
            buf_free(&channel->queue);
        }
    } else if (channel->sent > QUEUE_MAX / 2) {
        buf_consume(&channel->queue, channel->sent);
        channel->sent = 0;
    }
    bool wait = channel->queue.len > 0;
    if (wait != channel->waiting_to_write) {
        channel->waiting_to_write = wait;
        loop_rewatch(&channel->watch, wait ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    }
    if (channel->was_full && channel_queued(channel) < QUEUE_MAX / 2) {
        channel->was_full = false;
        if (channel->handler->writable != NULL) {
            channel->handler->writable(channel->context, channel);
        }
    }
}

void channel_flush(struct channel *channel)
{
    if (!channel->dead) {
        flush(channel);
    }
}

static bool enqueue(struct channel *channel, const struct ipc_type *type, const void *message)
{
    size_t start = channel->queue.len;
    uint32_t len = 0;
    if (!buf_append(&channel->queue, &len, sizeof(len)) || !ipc_encode(type, message, &channel->queue)) {
        buf_truncate(&channel->queue, start);
        channel->queue.failed = false;
        channel->was_full = true;
        return false;
    }
    len = (uint32_t)(channel->queue.len - start - sizeof(len));
    memcpy(channel->queue.data + start, &len, sizeof(len));
    channel->queued_packets++;
    if (!channel->waiting_to_write) {
        loop_defer(channel->loop, &channel->flush_task, flush, channel);
    }
    return true;
}

bool channel_send(struct channel *channel, const struct ipc_type *type, const void *message)
{
    return !channel->dead && !type->carries_fd && enqueue(channel, type, message);
}

bool channel_send_fd(struct channel *channel, const struct ipc_type *type, const void *message, int fd)
{
    if (channel->dead || !type->carries_fd || channel->fd_count == FDS_MAX ||
        !enqueue(channel, type, message)) {
        close(fd);
        return false;
    }
    channel->fds[channel->fd_count++] = (struct queued_fd){.packet = channel->queued_packets - 1, .fd = fd};
    return true;
}

/* The descriptor of a received packet: -1 if none, -2 if there is more than one. All extra ones are closed. */
static int take_fd(struct msghdr *header)
{
    int taken = -1;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
            if (taken == -1) {
                taken = fd;
            } else {
                close(fd);
                if (taken >= 0) {
                    close(taken);
                }
                taken = -2;
            }
        }
    }
    return taken;
}

static const char *handle_hello(struct channel *channel, struct str packet)
{
    uint32_t magic;
    uint16_t version;
    if (packet.len != HELLO_LENGTH) {
        return "the peer did not say hello";
    }
    memcpy(&version, packet.data + 2, sizeof(version));
    memcpy(&magic, packet.data + 4, sizeof(magic));
    if (magic != HELLO_MAGIC) {
        return "the peer did not say hello";
    }
    if (version != channel->receives->version) {
        return "the peer speaks another version of the protocol";
    }
    channel->greeted = true;
    return NULL;
}

static const struct ipc_type *find_type(const struct ipc_receives *receives, uint16_t number)
{
    for (size_t i = 0; i < receives->type_count; i++) {
        if (receives->types[i]->number == number) {
            return receives->types[i];
        }
    }
    return NULL;
}

/* NULL, or why the peer must go. Takes over fd. */
static const char *handle_packet(struct channel *channel, struct str packet, int fd)
{
    if (fd == -2) {
        return "the peer sent more than one descriptor";
    }
    if (!channel->greeted) {
        if (fd >= 0) {
            close(fd);
        }
        return handle_hello(channel, packet);
    }
    /* The largest struct of any protocol; checked against the type's size before use. */
    _Alignas(8) char message[2048];
    uint16_t number;
    const struct ipc_type *type = ipc_peek(packet, &number) ? find_type(channel->receives, number) : NULL;
    const char *wrong = NULL;
    if (type == NULL || type->size > sizeof(message)) {
        wrong = "the peer sent a message of an unknown type";
    } else if (type->carries_fd != (fd >= 0)) {
        wrong = "the peer sent a descriptor where none belongs, or none where one does";
    } else if (!ipc_decode(type, packet, message)) {
        wrong = "the peer sent a malformed message";
    }
    if (wrong != NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return wrong;
    }
    channel->handler->message(channel->context, channel, type, message, fd);
    return NULL;
}

/* The number of packets handled, 0 if there are none now, -1 if the channel is closed. */
static int receive_batch(struct channel *channel)
{
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    struct fd_control controls[BATCH] = {0};
    for (unsigned i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){.iov_base = receive_area[i], .iov_len = IPC_PACKET_MAX};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_control = controls[i].bytes;
        messages[i].msg_hdr.msg_controllen = sizeof(controls[i].bytes);
    }
    int n = recvmmsg(channel->fd, messages, BATCH, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
    if (n < 0) {
        if (is_passing(errno)) {
            return 0;
        }
        fail(channel, "the peer is gone");
        return -1;
    }
    const char *wrong = n == 0 ? "the peer is gone" : NULL;
    for (int i = 0; i < n; i++) {
        int fd = take_fd(&messages[i].msg_hdr);
        if (wrong != NULL || channel->dead) {
            if (fd >= 0) {
                close(fd);
            }
            continue;
        }
        if (messages[i].msg_len == 0) {
            wrong = "the peer is gone";
        } else if ((messages[i].msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
            wrong = "the peer sent a packet that is too large";
            if (fd >= 0) {
                close(fd);
            }
        } else {
            wrong = handle_packet(channel, str_make(receive_area[i], messages[i].msg_len), fd);
        }
    }
    if (wrong != NULL) {
        fail(channel, wrong);
    }
    return channel->dead ? -1 : n;
}

static void ready(void *context, unsigned what)
{
    struct channel *channel = context;
    if ((what & LOOP_WRITE) != 0) {
        channel->waiting_to_write = true;
        flush(channel);
    }
    for (int i = 0; i < BATCHES_A_PASS && !channel->dead; i++) {
        if (receive_batch(channel) < BATCH) {
            break;
        }
    }
}

void channel_drain(struct channel *channel)
{
    while (!channel->dead && receive_batch(channel) > 0) {
    }
}

static bool queue_hello(struct channel *channel)
{
    struct buf *queue = &channel->queue;
    channel->queued_packets++;
    return buf_append_le32(queue, HELLO_LENGTH) && buf_append_le16(queue, 0) &&
           buf_append_le16(queue, channel->receives->version) && buf_append_le32(queue, HELLO_MAGIC);
}

struct channel *channel_open(struct loop *loop, int fd, const struct ipc_receives *receives,
                             const struct channel_handler *handler, void *context, const char *name)
{
    struct channel *channel = mem_new(struct channel);
    if (channel == NULL) {
        close(fd);
        return NULL;
    }
    *channel = (struct channel){.loop = loop,
                                .receives = receives,
                                .handler = handler,
                                .context = context,
                                .name = name,
                                .fd = fd,
                                .queue = buf_make(QUEUE_MAX)};
    if (!queue_hello(channel) || loop_watch(loop, &channel->watch, fd, LOOP_READ, ready, channel) != 0) {
        close(fd);
        channel_free(channel);
        return NULL;
    }
    loop_defer(loop, &channel->flush_task, flush, channel);
    return channel;
}

int channel_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
}
