/* Asking for and making signatures; see remote_key.h. */
#include "tls/remote_key.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "tls/proto_sign.h"
#include "tls/provider.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Handshakes under way go on with the key that they began with, though the configuration is replaced several times meanwhile. */
enum { SECTIONS_MAX = 64, SECTION_NAME_MAX = 256, KEYS_KEPT = 4 };

/* Waits for the answer with this serial; answers to requests given up before are thrown away. */
static bool await_answer(int fd, uint32_t serial, struct sign_answer *answer)
{
    uint64_t end = clock_monotonic_ms() + SIGN_TIMEOUT_MS;
    for (;;) {
        ssize_t n = recv(fd, answer, sizeof(*answer), MSG_DONTWAIT);
        if (n == (ssize_t)sizeof(*answer) && answer->serial == serial) {
            return true;
        }
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            return false;
        }
        uint64_t now = clock_monotonic_ms();
        if (now >= end) {
            return false;
        }
        if (n < 0) {
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            if (poll(&wait, 1, (int)(end - now)) < 0 && errno != EINTR) {
                return false;
            }
        }
    }
}

bool remote_key_sign(void *context, const unsigned char *key_id, const char *digest, bool digested,
                     int padding, struct str data, struct buf *signature)
{
    struct remote_key_client *client = context;
    struct sign_request request = {.serial = ++client->serial,
                                   .data_len = (uint16_t)data.len,
                                   .padding = (uint8_t)padding,
                                   .digested = digested};
    struct sign_answer answer;
    struct str digest_name = str_of(digest);
    if (client->fd < 0 || data.len > SIGN_DATA_MAX || digest_name.len >= sizeof(request.digest)) {
        return false;
    }
    memcpy(request.digest, digest_name.data, digest_name.len);
    memcpy(request.key_id, key_id, sizeof(request.key_id));
    memcpy(request.data, data.data, data.len);
    if (send(client->fd, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) !=
        (ssize_t)sizeof(request)) {
        log_warning("a TLS handshake failed: the role that holds the keys cannot be asked: %s",
                    strerror(errno));
        return false;
    }
    if (!await_answer(client->fd, request.serial, &answer)) {
        log_warning("a TLS handshake failed: the role that holds the keys has not signed it within %d ms",
                    SIGN_TIMEOUT_MS);
        return false;
    }
    return answer.signature_len > 0 && answer.signature_len <= SIGN_SIGNATURE_MAX &&
           buf_append(signature, answer.signature, answer.signature_len);
}

struct signing_key {
    unsigned char id[SIGN_KEY_ID_SIZE];
    EVP_PKEY *key; /* NULL: there is none */
    /* Ready for the digest and padding that were asked for last: setting it up takes as long as a P-256 signature. */
    EVP_PKEY_CTX *signer;
    char digest[sizeof(((struct sign_request *)NULL)->digest)];
    uint8_t padding;
};

struct section_keys {
    size_t name_len;
    char name[SECTION_NAME_MAX];
    struct signing_key keys[KEYS_KEPT]; /* the newest first */
};

struct key_ring {
    size_t count;
    struct section_keys sections[SECTIONS_MAX];
};

struct key_ring *key_ring_new(void)
{
    return mem_new(struct key_ring);
}

static void free_key(struct signing_key *key)
{
    EVP_PKEY_CTX_free(key->signer);
    EVP_PKEY_free(key->key);
}

void key_ring_free(struct key_ring *ring)
{
    if (ring != NULL) {
        for (size_t i = 0; i < ring->count; i++) {
            for (size_t k = 0; k < KEYS_KEPT; k++) {
                free_key(&ring->sections[i].keys[k]);
            }
        }
        mem_free(ring);
    }
}

/* NULL: there are too many. */
static struct section_keys *section_named(struct key_ring *ring, struct str name)
{
    for (size_t i = 0; i < ring->count; i++) {
        if (str_equal(str_make(ring->sections[i].name, ring->sections[i].name_len), name)) {
            return &ring->sections[i];
        }
    }
    if (ring->count == SECTIONS_MAX || name.len > SECTION_NAME_MAX) {
        return NULL;
    }
    struct section_keys *section = &ring->sections[ring->count++];
    memcpy(section->name, name.data, name.len);
    section->name_len = name.len;
    return section;
}

static bool is_key(const struct signing_key *key, const unsigned char id[SIGN_KEY_ID_SIZE])
{
    return key->key != NULL && memcmp(key->id, id, SIGN_KEY_ID_SIZE) == 0;
}

bool key_ring_add(struct key_ring *ring, struct str name, struct str pem)
{
    BIO *bio = pem.len > INT32_MAX ? NULL : BIO_new_mem_buf(pem.data, (int)pem.len);
    struct signing_key new = {.key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)};
    BIO_free(bio);
    struct section_keys *section =
        new.key != NULL &&provider_key_id(new.key, new.id) ? section_named(ring, name) : NULL;
    if (section == NULL) {
        free_key(&new);
        return false;
    }
    if (is_key(&section->keys[0], new.id)) {
        free_key(&new);
        return true;
    }
    free_key(&section->keys[KEYS_KEPT - 1]);
    memmove(&section->keys[1], &section->keys[0], (KEYS_KEPT - 1) * sizeof(section->keys[0]));
    section->keys[0] = new;
    return true;
}

static struct signing_key *find_key(struct key_ring *ring, const unsigned char id[SIGN_KEY_ID_SIZE])
{
    for (size_t i = 0; i < ring->count; i++) {
        for (size_t k = 0; k < KEYS_KEPT; k++) {
            if (is_key(&ring->sections[i].keys[k], id)) {
                return &ring->sections[i].keys[k];
            }
        }
    }
    return NULL;
}

static EVP_PKEY_CTX *new_signer(EVP_PKEY *key, const EVP_MD *md, uint8_t padding)
{
    EVP_PKEY_CTX *signer = EVP_PKEY_CTX_new(key, NULL);
    bool fine =
        signer != NULL && EVP_PKEY_sign_init(signer) == 1 && EVP_PKEY_CTX_set_signature_md(signer, md) == 1;
    if (fine && EVP_PKEY_is_a(key, "RSA")) {
        bool pss = padding == SIGN_PADDING_PSS;
        fine = EVP_PKEY_CTX_set_rsa_padding(signer, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1 &&
               (!pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(signer, RSA_PSS_SALTLEN_DIGEST) == 1);
    }
    if (!fine) {
        EVP_PKEY_CTX_free(signer);
        return NULL;
    }
    return signer;
}

static bool sign_digest(struct signing_key *key, const struct sign_request *request, unsigned char *out,
                        size_t *len)
{
    const EVP_MD *md = EVP_get_digestbyname(request->digest);
    if (md == NULL || request->data_len != EVP_MD_get_size(md)) {
        return false;
    }
    bool ready = key->signer != NULL && key->padding == request->padding &&
                 memcmp(key->digest, request->digest, sizeof(key->digest)) == 0;
    if (!ready) {
        EVP_PKEY_CTX_free(key->signer);
        key->signer = new_signer(key->key, md, request->padding);
        key->padding = request->padding;
        memcpy(key->digest, request->digest, sizeof(key->digest));
    }
    return key->signer != NULL && EVP_PKEY_sign(key->signer, out, len, request->data, request->data_len) == 1;
}

static bool sign_text(EVP_PKEY *key, const struct sign_request *request, unsigned char *out, size_t *len)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool fine = context != NULL && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
                EVP_DigestSign(context, out, len, request->data, request->data_len) == 1;
    EVP_MD_CTX_free(context);
    return fine;
}

static bool sign(struct signing_key *key, const struct sign_request *request, struct sign_answer *answer)
{
    size_t len = sizeof(answer->signature);
    bool fine = key != NULL && request->data_len <= SIGN_DATA_MAX &&
                memchr(request->digest, '\0', sizeof(request->digest)) != NULL &&
                (request->digested ? sign_digest(key, request, answer->signature, &len)
                                   : sign_text(key->key, request, answer->signature, &len));
    answer->signature_len = fine ? (uint16_t)len : 0;
    return fine;
}

bool key_ring_serve(struct key_ring *ring, int fd, key_ring_refresh refresh, void *context)
{
    struct sign_request request;
    ssize_t n = recv(fd, &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n != (ssize_t)sizeof(request)) {
        return false;
    }
    struct signing_key *key = find_key(ring, request.key_id);
    if (key == NULL) {
        refresh(context);
        key = find_key(ring, request.key_id);
    }
    struct sign_answer answer = {.serial = request.serial};
    if (!sign(key, &request, &answer)) {
        log_warning("a TLS handshake failed: %s",
                    key == NULL ? "the key of its certificate has been replaced since"
                                : "it cannot be signed with the key of its certificate");
    }
    return send(fd, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(answer);
}
