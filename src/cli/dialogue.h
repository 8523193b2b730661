/*
 * A conversation with an SMTP server, shown line by line with a word on each: the blocking driver of the SMTP client engine
 * (smtp/client.h) for `veredus send`.
 */
#ifndef VEREDUS_CLI_DIALOGUE_H
#define VEREDUS_CLI_DIALOGUE_H

#include "smtp/client.h"
#include "tls/tls.h"

struct dialogue_options {
    const char *host;
    const char *port;
    struct str ca;       /* PEM; empty: certificates are not checked */
    uint64_t timeout_ms; /* for connecting; and for each answer, where the protocol's own is longer */
    bool json;
    struct smtp_client_settings settings;
    struct smtp_client_message message;
    struct str text; /* the message, CRLF line ends */
    struct smtp_client_recipient *recipients;
    size_t recipient_count;
};

struct dialogue_result {
    size_t delivered;
    size_t deferred;
    size_t failed;
    int code;           /* EX_OK, or of what ended the session */
    char message[1024]; /* why, if code is not EX_OK */
    const char *advice;
};

/* Sends the message and prints the conversation on standard output. */
void dialogue_run(const struct dialogue_options *options, struct dialogue_result *result);

#endif
