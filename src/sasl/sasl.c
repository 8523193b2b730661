/* SASL mechanisms; see sasl.h. A mechanism is one row of the table and one function. */
#include "sasl/sasl.h"

#include "base/mem.h"

struct sasl_mechanism {
    const char *name;
    enum sasl_step (*respond)(struct sasl *sasl, struct str response);
    struct str first_challenge;
};

/* Identities are shown in logs and looked up: text without control characters, well-formed. */
static bool is_identity(struct str s)
{
    if (s.len > SASL_NAME_MAX || !str_is_utf8(s)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool keep(struct sasl *sasl, struct str authorization, struct str authentication, struct str password)
{
    return is_identity(authorization) && is_identity(authentication) && authentication.len > 0 && password.len > 0 &&
           password.len <= SASL_PASSWORD_MAX && memchr(password.data, '\0', password.len) == NULL &&
           buf_append_str(&sasl->authorization_id, authorization) &&
           buf_append_str(&sasl->authentication_id, authentication) && buf_append_str(&sasl->password, password);
}

/* RFC 4616: [authzid] NUL authcid NUL passwd */
static enum sasl_step plain_respond(struct sasl *sasl, struct str response)
{
    struct str rest = response;
    struct str authorization;
    struct str authentication;
    if (!str_split(&rest, '\0', &authorization) || !str_split(&rest, '\0', &authentication) || rest.data == NULL) {
        return SASL_MALFORMED;
    }
    return keep(sasl, authorization, authentication, rest) ? SASL_VERIFY : SASL_MALFORMED;
}

/* No standard, but what old clients speak: the name, then the password. */
static enum sasl_step login_respond(struct sasl *sasl, struct str response)
{
    if (sasl->state == 0) {
        if (!is_identity(response) || response.len == 0 || !buf_append_str(&sasl->authentication_id, response)) {
            return SASL_MALFORMED;
        }
        sasl->state = 1;
        sasl->challenge = STR("Password:");
        return SASL_CHALLENGE;
    }
    if (response.len == 0 || response.len > SASL_PASSWORD_MAX ||
        memchr(response.data, '\0', response.len) != NULL || !buf_append_str(&sasl->password, response)) {
        return SASL_MALFORMED;
    }
    return SASL_VERIFY;
}

static const struct sasl_mechanism mechanisms[] = {
    {"PLAIN", plain_respond, {"", 0}},
    {"LOGIN", login_respond, {"Username:", 9}},
};

const struct sasl_mechanism *sasl_find(struct str name)
{
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
        if (str_equal_nocase(name, str_of(mechanisms[i].name))) {
            return &mechanisms[i];
        }
    }
    return NULL;
}

const char *sasl_name(const struct sasl_mechanism *mechanism)
{
    return mechanism->name;
}

struct str sasl_names(void)
{
    return STR("PLAIN LOGIN");
}

struct sasl *sasl_new(const struct sasl_mechanism *mechanism)
{
    struct sasl *sasl = mem_new(struct sasl);
    if (sasl != NULL) {
        sasl->mechanism = mechanism;
        sasl->challenge = mechanism->first_challenge;
        sasl->authorization_id = buf_make(SASL_NAME_MAX);
        sasl->authentication_id = buf_make(SASL_NAME_MAX);
        sasl->password = buf_make(SASL_PASSWORD_MAX);
    }
    return sasl;
}

enum sasl_step sasl_begin(struct sasl *sasl, const struct str *initial)
{
    return initial == NULL ? SASL_CHALLENGE : sasl->mechanism->respond(sasl, *initial);
}

enum sasl_step sasl_respond(struct sasl *sasl, struct str response)
{
    return response.len > SASL_RESPONSE_MAX ? SASL_MALFORMED : sasl->mechanism->respond(sasl, response);
}

void sasl_free(struct sasl *sasl)
{
    if (sasl != NULL) {
        buf_wipe(&sasl->password);
        buf_free(&sasl->authorization_id);
        buf_free(&sasl->authentication_id);
        mem_free(sasl);
    }
}
