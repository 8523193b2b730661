/* Certificates of one's own; see selfsigned.h. */
#include "tls/selfsigned.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { VALID_DAYS = 3650 };

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool fine = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return fine;
}

static bool set_serial(X509 *certificate)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return false;
    }
    bytes[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool fine = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return fine;
}

static X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                              uint64_t wall_ms, const char *alternative_names)
{
    X509 *c = X509_new();
    if (c == NULL) {
        return NULL;
    }
    time_t now = (time_t)(wall_ms / 1000);
    X509_NAME *subject = X509_get_subject_name(c);
    bool authority = issuer == NULL;
    X509 *by = authority ? c : issuer;
    bool fine =
        X509_set_version(c, 2) == 1 && set_serial(c) &&
        X509_time_adj_ex(X509_getm_notBefore(c), -1, 0, &now) != NULL &&
        X509_time_adj_ex(X509_getm_notAfter(c), VALID_DAYS, 0, &now) != NULL &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) ==
            1 &&
        X509_set_issuer_name(c, X509_get_subject_name(by)) == 1 && X509_set_pubkey(c, key) == 1 &&
        add_extension(c, by, NID_subject_key_identifier, "hash") &&
        add_extension(c, by, NID_basic_constraints, authority ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
        add_extension(c, by, NID_key_usage,
                      authority ? "critical,keyCertSign" : "critical,digitalSignature") &&
        (authority || (add_extension(c, by, NID_ext_key_usage, "serverAuth") &&
                       add_extension(c, by, NID_subject_alt_name, alternative_names))) &&
        X509_sign(c, issuer_key, EVP_sha256()) > 0;
    if (!fine) {
        X509_free(c);
        return NULL;
    }
    return c;
}

static bool append_bio(BIO *bio, struct buf *out)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    return len > 0 && buf_append(out, data, (size_t)len);
}

static bool append_certificate(X509 *certificate, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool fine = bio != NULL && PEM_write_bio_X509(bio, certificate) == 1 && append_bio(bio, out);
    BIO_free(bio);
    return fine;
}

static bool append_key(EVP_PKEY *key, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    bool fine = bio != NULL && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                append_bio(bio, out);
    BIO_free(bio);
    return fine;
}

bool selfsigned_make(struct str hostname, uint64_t wall_ms, struct buf *authority, struct buf *certificate,
                     struct buf *key)
{
    struct buf names = buf_make(1024);
    buf_append_lit(&names, "DNS:localhost,IP:127.0.0.1,IP:::1,DNS:");
    buf_append_str(&names, hostname);
    buf_append_char(&names, '\0');
    if (!buf_ok(&names) || memchr(hostname.data, ',', hostname.len) != NULL) {
        buf_free(&names);
        return false;
    }
    EVP_PKEY *ca_key = EVP_EC_gen("P-256");
    EVP_PKEY *server_key = EVP_EC_gen("P-256");
    X509 *ca = ca_key == NULL
                   ? NULL
                   : make_certificate("Veredus development CA", ca_key, NULL, ca_key, wall_ms, NULL);
    X509 *server = ca == NULL || server_key == NULL
                       ? NULL
                       : make_certificate("Veredus development", server_key, ca, ca_key, wall_ms, names.data);
    bool fine = server != NULL && append_certificate(ca, authority) &&
                append_certificate(server, certificate) && append_certificate(ca, certificate) &&
                append_key(server_key, key);
    X509_free(server);
    X509_free(ca);
    EVP_PKEY_free(server_key);
    EVP_PKEY_free(ca_key);
    buf_free(&names);
    return fine;
}
