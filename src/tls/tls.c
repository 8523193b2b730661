/* TLS over non-blocking sockets; see tls.h. */
#include "tls/tls.h"

#include "base/mem.h"
#include "tls/provider.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

struct tls_context {
    SSL_CTX *ssl;
    size_t alpn_len;
    unsigned char alpn[16]; /* with its length octet before it */
};

/* The connection is OpenSSL's own object: nothing of ours has to go with it. */

static char last_error[256];

const char *tls_error(void)
{
    return last_error;
}

static void note_error(const char *standard)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    struct str text = str_of(reason == NULL ? standard : reason);
    size_t len = text.len < sizeof(last_error) - 1 ? text.len : sizeof(last_error) - 1;
    memcpy(last_error, text.data, len);
    last_error[len] = '\0';
    ERR_clear_error();
}

bool tls_setup(tls_sign sign, void *context)
{
    /* Nothing may be loaded once the sandbox is there: strings and algorithms now. */
    return OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
                                OPENSSL_INIT_NO_ATEXIT,
                            NULL) == 1 &&
           (sign == NULL || provider_load(sign, context));
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *argument)
{
    (void)ssl;
    const struct tls_context *context = argument;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_len, context->alpn, (unsigned)context->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool use_certificate(SSL_CTX *ssl, struct str pem, struct str name, struct buf *errors)
{
    BIO *bio = pem.len > INT32_MAX ? NULL : BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *leaf = bio == NULL ? NULL : PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    bool fine = leaf != NULL && SSL_CTX_use_certificate(ssl, leaf) == 1;
    while (fine) {
        X509 *next = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (next == NULL) {
            ERR_clear_error(); /* the end of the file is reported as an error */
            break;
        }
        fine = SSL_CTX_add0_chain_cert(ssl, next) == 1;
    }
    EVP_PKEY *key = fine ? provider_key(X509_get0_pubkey(leaf)) : NULL;
    fine = key != NULL && SSL_CTX_use_PrivateKey(ssl, key) == 1;
    EVP_PKEY_free(key);
    X509_free(leaf);
    BIO_free(bio);
    if (!fine) {
        note_error("no certificate in the file");
        buf_printf(errors, "tls %.*s: the certificate cannot be used: %s\n", STR_ARGS(name), last_error);
    }
    return fine;
}

static void common_settings(SSL_CTX *ssl)
{
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    /* The last: what was decrypted may be a password, and OpenSSL gives its buffers back as they are. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Peers that close without saying goodbye are common; the protocol above knows whether it was complete. */
    SSL_CTX_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

struct tls_context *tls_server_context(struct str certificate, struct str name, struct str alpn,
                                       const unsigned char ticket_key[80], struct buf *errors)
{
    struct tls_context *context = mem_new(struct tls_context);
    SSL_CTX *ssl = context == NULL ? NULL : SSL_CTX_new(TLS_server_method());
    if (ssl == NULL) {
        mem_free(context);
        buf_append_lit(errors, "tls: out of memory\n");
        return NULL;
    }
    context->ssl = ssl;
    common_settings(ssl);
    /* Without it each record takes two calls: one for its head and one for the rest. */
    SSL_CTX_set_read_ahead(ssl, 1);
    if (!use_certificate(ssl, certificate, name, errors)) {
        tls_context_free(context);
        return NULL;
    }
    unsigned char keys[80];
    memcpy(keys, ticket_key, sizeof(keys));
    SSL_CTX_set_tlsext_ticket_keys(ssl, keys, sizeof(keys));
    OPENSSL_cleanse(keys, sizeof(keys));
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)alpn.data, (unsigned)alpn.len);
    /* 128 bits are enough and the fastest; who prefers ChaCha20, as phones without instructions for AES do, gets that. */
    SSL_CTX_set_ciphersuites(ssl,
                             "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_options(ssl, SSL_OP_PRIORITIZE_CHACHA);
    /* The macro of OpenSSL takes the list as a char *, and does not write to it. */
    char groups[] = "X25519:P-256:P-384";
    SSL_CTX_set1_groups_list(ssl, groups);
    if (alpn.len > 0 && alpn.len < sizeof(context->alpn)) {
        context->alpn[0] = (unsigned char)alpn.len;
        memcpy(context->alpn + 1, alpn.data, alpn.len);
        context->alpn_len = alpn.len + 1;
        SSL_CTX_set_alpn_select_cb(ssl, choose_alpn, context);
    }
    return context;
}

static bool add_authorities(SSL_CTX *ssl, struct str pem)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    BIO *bio = pem.len > INT32_MAX ? NULL : BIO_new_mem_buf(pem.data, (int)pem.len);
    size_t count = 0;
    X509 *authority;
    while (bio != NULL && (authority = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        count += X509_STORE_add_cert(store, authority) == 1;
        X509_free(authority);
    }
    ERR_clear_error();
    BIO_free(bio);
    return count > 0;
}

struct tls_context *tls_client_context(struct str ca, struct buf *errors)
{
    struct tls_context *context = mem_new(struct tls_context);
    SSL_CTX *ssl = context == NULL ? NULL : SSL_CTX_new(TLS_client_method());
    if (ssl == NULL) {
        mem_free(context);
        buf_append_lit(errors, "tls: out of memory\n");
        return NULL;
    }
    context->ssl = ssl;
    common_settings(ssl);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (ca.len > 0 && !add_authorities(ssl, ca)) {
        buf_append_lit(errors, "tls: the file of trusted authorities has no certificate in it\n");
        tls_context_free(context);
        return NULL;
    }
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (context != NULL) {
        SSL_CTX_free(context->ssl);
        mem_free(context);
    }
}

static SSL *ssl_of(const struct tls *tls)
{
    return (SSL *)(uintptr_t)tls;
}

struct tls *tls_server(struct tls_context *context, int fd)
{
    SSL *ssl = SSL_new(context->ssl);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    return (struct tls *)ssl;
}

struct tls *tls_client(struct tls_context *context, int fd, struct str host, bool verify)
{
    char name[256];
    SSL *ssl = SSL_new(context->ssl);
    if (ssl == NULL || host.len >= sizeof(name) || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    memcpy(name, host.data, host.len);
    name[host.len] = '\0';
    bool fine = host.len == 0 || SSL_set_tlsext_host_name(ssl, name) == 1;
    if (verify) {
        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        fine = fine && SSL_set1_host(ssl, name) == 1;
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    }
    if (!fine) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return (struct tls *)ssl;
}

void tls_free(struct tls *tls)
{
    if (tls != NULL) {
        SSL_free(ssl_of(tls));
    }
}

static enum tls_result result_of(struct tls *tls, int code)
{
    switch (SSL_get_error(ssl_of(tls), code)) {
    case SSL_ERROR_NONE: return TLS_OK;
    case SSL_ERROR_WANT_READ: return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return TLS_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN: return TLS_CLOSED;
    case SSL_ERROR_SYSCALL: note_error("the peer closed the connection"); return TLS_FAILED;
    default: break;
    }
    long verify = SSL_get_verify_result(ssl_of(tls));
    note_error("the handshake failed");
    if (verify != X509_V_OK && SSL_get_verify_mode(ssl_of(tls)) != SSL_VERIFY_NONE) {
        struct str text = str_of(X509_verify_cert_error_string(verify));
        size_t len = text.len < sizeof(last_error) - 1 ? text.len : sizeof(last_error) - 1;
        memcpy(last_error, text.data, len);
        last_error[len] = '\0';
    }
    return TLS_FAILED;
}

enum tls_result tls_handshake(struct tls *tls)
{
    ERR_clear_error();
    int code = SSL_do_handshake(ssl_of(tls));
    return code == 1 ? TLS_OK : result_of(tls, code);
}

enum tls_result tls_read(struct tls *tls, void *data, size_t len, size_t *done)
{
    *done = 0;
    ERR_clear_error();
    int code = SSL_read_ex(ssl_of(tls), data, len, done);
    return code == 1 ? TLS_OK : result_of(tls, code);
}

enum tls_result tls_write(struct tls *tls, const void *data, size_t len, size_t *done)
{
    *done = 0;
    ERR_clear_error();
    int code = SSL_write_ex(ssl_of(tls), data, len, done);
    return code == 1 ? TLS_OK : result_of(tls, code);
}

void tls_shutdown(struct tls *tls)
{
    ERR_clear_error();
    if (SSL_in_init(ssl_of(tls)) == 0) {
        SSL_shutdown(ssl_of(tls));
    }
    ERR_clear_error();
}

const char *tls_version(const struct tls *tls)
{
    return SSL_get_version(ssl_of(tls));
}

const char *tls_cipher(const struct tls *tls)
{
    return SSL_get_cipher_name(ssl_of(tls));
}
