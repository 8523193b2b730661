/*
 * A channel: one end of the SOCK_SEQPACKET socket pair between two roles.
 *
 * Sending queues the packet; what one pass of the loop queued leaves with one sendmmsg at its end. The
 * queue is bounded: when it is full channel_send says no and the caller answers its own client with a
 * temporary failure or stops reading from it. Receiving hands each decoded message to the handler.
 * A packet that does not decode, an unknown type, a descriptor where none belongs: the channel is closed
 * and the handler told; a hostile peer costs itself and nothing else.
 */
#ifndef VEREDUS_IPC_CHANNEL_H
#define VEREDUS_IPC_CHANNEL_H

#include "base/loop.h"
#include "ipc/message.h"

/* The messages that one end may receive. Both ends of a pair have one, in the pair's header. */
struct ipc_receives {
    const char *name;
    uint16_t version; /* of the protocol; the first packet of each side tells it */
    size_t type_count;
    const struct ipc_type *const *types;
};

struct channel;

struct channel_handler {
    /* `fd` is the receiver's to close (-1 if the type carries none); slices live until this returns. */
    void (*message)(void *context, struct channel *channel, const struct ipc_type *type, const void *message,
                    int fd);
    /* The peer is gone or broke the rules; the channel has been closed and is freed after this returns. */
    void (*closed)(void *context, struct channel *channel, const char *reason);
    /* The queue was full and has room again. May be NULL. */
    void (*writable)(void *context, struct channel *channel);
};

/*
 * Takes over `fd` (closed with the channel; set non-blocking already). `name` is for log lines and must live
 * as long as the channel. NULL without memory (then fd is closed).
 */
struct channel *channel_open(struct loop *loop, int fd, const struct ipc_receives *receives,
                             const struct channel_handler *handler, void *context, const char *name);
/* Closes without telling the handler; harmless with NULL; allowed inside the handler. */
void channel_close(struct channel *channel);
/* Queues a message. False if it is beyond its bounds, the queue is full or there is no memory. */
bool channel_send(struct channel *channel, const struct ipc_type *type, const void *message);
/* The same with a descriptor, which the channel takes over in every case (closed once sent). */
bool channel_send_fd(struct channel *channel, const struct ipc_type *type, const void *message, int fd);
/* Bytes queued and not yet taken by the kernel. */
size_t channel_queued(const struct channel *channel);
/*
 * Sends now what the kernel takes of what is queued, so that the peer can begin on it. Never calls the handler: if the peer is
 * gone, that is found at the end of the pass.
 */
void channel_push(struct channel *channel);
/* Sends what is queued now; for the last words of a process. May call the handler. */
void channel_flush(struct channel *channel);
/* Handles what has been sent to us already, before a channel is closed whose peer has ended. */
void channel_drain(struct channel *channel);
const char *channel_name(const struct channel *channel);

/* A connected pair of non-blocking SOCK_SEQPACKET sockets, close-on-exec. 0, or -1 with errno. */
int channel_pair(int fds[2]);

#endif
