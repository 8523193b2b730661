/*
 * TLS over non-blocking sockets, around OpenSSL. Private keys are not here: a server context has the certificate, and its
 * signatures come from the keys role through a callback (remote_key.h).
 */
#ifndef VEREDUS_TLS_TLS_H
#define VEREDUS_TLS_TLS_H

#include "base/buf.h"

struct tls_context;
struct tls;

enum tls_result {
    TLS_OK,
    TLS_WANT_READ,
    TLS_WANT_WRITE,
    TLS_CLOSED, /* the peer said goodbye */
    TLS_FAILED  /* tls_error() says why */
};

/*
 * Signs with the private key of `key_id`, SIGN_KEY_ID_SIZE octets; see proto_sign.h. False: refused or not answered in time.
 */
typedef bool (*tls_sign)(void *context, const unsigned char *key_id, const char *digest, bool digested,
                         int padding, struct str data, struct buf *signature);

/* Once a process, before the sandbox: loads what OpenSSL loads lazily and registers the provider. */
bool tls_setup(tls_sign sign, void *context);

/*
 * A server's context from the PEM chain of its certificate. `alpn`: the one protocol name that a client that sends ALPN
 * must offer ("smtp", "pop3"), so that no other protocol's client is served (ALPACA). `ticket_key`: 80 octets. NULL on
 * failure, with the reason in `errors`.
 */
struct tls_context *tls_server_context(struct str certificate, struct str name, struct str alpn,
                                       const unsigned char ticket_key[80], struct buf *errors);
/* For the relay. `ca`: PEM bundle of trusted authorities; empty: certificates are not checked. */
struct tls_context *tls_client_context(struct str ca, struct buf *errors);
void tls_context_free(struct tls_context *context);

/* A connection on a connected non-blocking socket, which stays the caller's. NULL without memory. */
struct tls *tls_server(struct tls_context *context, int fd);
/* `host`: for SNI, and for the check of the certificate if `verify`. */
struct tls *tls_client(struct tls_context *context, int fd, struct str host, bool verify);
void tls_free(struct tls *tls);
enum tls_result tls_handshake(struct tls *tls);
enum tls_result tls_read(struct tls *tls, void *data, size_t len, size_t *done);
enum tls_result tls_write(struct tls *tls, const void *data, size_t len, size_t *done);
/* Says goodbye, without waiting for the peer's. */
void tls_shutdown(struct tls *tls);
/* "TLSv1.3" and the cipher's name; static text. */
const char *tls_version(const struct tls *tls);
const char *tls_cipher(const struct tls *tls);
/* Why the last operation failed, in words; lives until the next one of this process. */
const char *tls_error(void);

#endif
