/*
 * The listening side of a role that serves the network: its listeners, accepting with limits, and for each listener the
 * settings that sessions share. What smtpd and imapd have in common before a protocol begins.
 *
 * Settings never change: a reload makes new ones, and a session keeps those that it began with.
 */
#ifndef VEREDUS_ROLES_FRONT_H
#define VEREDUS_ROLES_FRONT_H

#include "config/config.h"
#include "roles/role.h"
#include "tls/remote_key.h"
#include "tls/tls.h"

#include <sys/socket.h>

struct fronts;

struct front_settings {
    unsigned references;
    struct config *config;
    const struct config_listener *listener; /* lives as long as config */
    struct tls_context *tls;                /* NULL: TLS cannot be had */
    void *data;                             /* the role's own, of events->make */
    void (*unmake)(void *data);
};

enum front_refusal { FRONT_TOO_MANY, FRONT_TOO_MANY_FROM_ADDRESS };

struct front_events {
    /* The role's own part of the settings, freed with unmake. NULL if there is no memory. */
    void *(*make)(void *context, const struct front_settings *settings);
    void (*unmake)(void *data);
    /* A connection, whose end is told with fronts_ended. Takes over fd. False: it came to nothing. */
    bool (*accepted)(void *context, struct front_settings *settings, int fd,
                     const struct sockaddr_storage *peer);
    /* One that cannot be served: the reply to write before it is closed. Empty: none (TLS from the first byte). */
    struct str (*refusal)(void *context, const struct front_settings *settings, enum front_refusal why);
};

/* NULL without memory. */
struct fronts *fronts_new(struct role *role, const struct front_events *events, void *context);
/* What the supervisor sends, for the module of such a role: before fronts_start and later. */
void front_listener(struct role *role, uint32_t id, struct str name, int fd);
void front_unlisten(struct role *role, uint32_t id);
void front_secret(struct role *role, enum secret_kind kind, struct str name, int fd);
void front_signing(struct role *role, enum role_kind kind, uint32_t instance, int fd);
/* Where signatures are asked for, for tls_setup. */
struct remote_key_client *fronts_keys(struct fronts *fronts);
/* Makes all settings and begins to accept. 0, or -1. */
int fronts_start(struct fronts *fronts);
/* The configuration or a certificate is new: makes all settings anew. */
void fronts_configured(struct fronts *fronts);
/* Accepts nothing more. */
void fronts_stop(struct fronts *fronts);
/* A session of this address is over. */
void fronts_ended(struct fronts *fronts, const struct sockaddr_storage *peer);
size_t fronts_sessions(const struct fronts *fronts);

struct front_settings *front_settings_ref(struct front_settings *settings);
void front_settings_unref(struct front_settings *settings);

#endif
