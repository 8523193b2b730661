/*
 * A client's connection: socket, TLS, output buffer, and input handed to a protocol engine. What smtpd and imapd share; it knows
 * no protocol. Lives inside the session's structure.
 *
 * While the engine waits for an answer the role keeps what is left of the input in `pending` and nothing more is read, so a
 * client that sends on is slowed down by TCP and costs no memory. The same holds for what compressed input would expand to: no more
 * is expanded than the engine takes, and each expanded piece counts as a read of its own.
 */
#ifndef VEREDUS_ROLES_CONNECTION_H
#define VEREDUS_ROLES_CONNECTION_H

#include "base/buf.h"
#include "base/deflate.h"
#include "base/loop.h"
#include "tls/tls.h"

#include <sys/socket.h>

enum { CONNECTION_READ_SIZE = 65536, CONNECTION_ADDRESS_TEXT = 48 };

struct connection;

struct connection_events {
    /* Consume from the front of *input as much as can be. What is left is kept for connection_resume. */
    void (*input)(struct connection *connection, struct str *input);
    /* The TLS handshake is over. */
    void (*secured)(struct connection *connection);
    /*
     * A client that should begin with TLS has sent something else. Reply in clear and finish, or abort. May be NULL: the
     * handshake then fails.
     */
    void (*in_clear)(struct connection *connection);
    /* The output has been taken by the kernel, all of it. May be NULL. */
    void (*drained)(struct connection *connection);
    /* The peer is gone or has been sent away, and the socket is closed. The owner frees at the end of the pass. */
    void (*closed)(struct connection *connection, const char *reason);
};

struct connection {
    const struct connection_events *events;
    struct loop *loop;
    struct tls *tls;
    struct loop_watch watch;
    struct loop_task task;
    int fd;
    bool handshaking;
    bool begun;   /* the handshake has begun as one */
    bool paused;  /* the engine waits for an answer */
    bool closing; /* close once the output is out */
    bool dead;
    uint8_t watched; /* what the loop watches for now */
    struct buf out;
    size_t sent; /* of out */
    struct buf pending;
    struct deflate *deflate; /* RFC 4978; NULL: nothing is compressed */
    struct buf packed;       /* compressed input that has not been expanded yet */
    struct buf wire;         /* compressed output, of wire_covers octets of out */
    size_t wire_sent;
    size_t wire_covers;
    const char *reason; /* why it is being closed */
};

/* Takes over `fd`. False without memory (then fd is closed). */
bool connection_open(struct connection *connection, struct loop *loop, int fd,
                     const struct connection_events *events, size_t out_limit);
/* Begins TLS: pending input is thrown away (RFC 3207, section 4.2); output is sent first. */
bool connection_start_tls(struct connection *connection, struct tls_context *context);
/*
 * From now on DEFLATE both ways: to be called when all output has been sent (`out` is empty) and no input is pending. False without
 * memory.
 */
bool connection_compress(struct connection *connection);
/* No more input until connection_resume. To be called inside `input`. */
void connection_pause(struct connection *connection);
/* Goes on with pending input at the end of this pass. */
void connection_resume(struct connection *connection);
/* After an answer or an empty output: `input` is called with nothing new, then with what waits unless it pauses again. */
void connection_go_on(struct connection *connection);
/* Sends what is in `out` as far as the kernel takes it. */
void connection_flush(struct connection *connection);
/* Closes as soon as the output is out. */
void connection_finish(struct connection *connection, const char *reason);
/* Closes now. */
void connection_abort(struct connection *connection, const char *reason);

/* The peer's address: "192.0.2.1" or "2001:db8::1"; IPv4 inside IPv6 is written as IPv4. */
void address_text(const struct sockaddr_storage *address, char text[CONNECTION_ADDRESS_TEXT]);
bool address_is_loopback(const struct sockaddr_storage *address);
/* The octets that count as one client: the IPv4 address, or the first 64 bits of IPv6. Returns the length. */
size_t address_prefix(const struct sockaddr_storage *address, unsigned char prefix[16]);

#endif
