/* What the files of FETCH share: its items as parsed, and how one message is written. Nobody else includes this. */
#ifndef VEREDUS_IMAP_FETCH_PRIVATE_H
#define VEREDUS_IMAP_FETCH_PRIVATE_H

#include "imap/server_private.h"
#include "message/mime.h"
#include "message/section.h"
#include "message/summary.h"

enum { FETCH_ITEMS_MAX = 64, FETCH_FIELDS_MAX = 256 };

enum fetch_kind {
    FETCH_UID,
    FETCH_FLAGS,
    FETCH_MODSEQ,
    FETCH_INTERNALDATE,
    FETCH_SIZE,
    FETCH_SAVEDATE,
    FETCH_EMAILID,
    FETCH_ENVELOPE,
    FETCH_BODY, /* without section: the structure */
    FETCH_BODYSTRUCTURE,
    FETCH_PREVIEW,
    FETCH_THREADID,
    FETCH_SECTION,
    FETCH_BINARY,
    FETCH_BINARY_SIZE
};

struct fetch_item {
    enum fetch_kind kind;
    bool peek;
    bool lazy;       /* PREVIEW (LAZY): what the summary has, or the octets that another item brings */
    struct str name; /* as it is written before the value: "BODY[1.TEXT]", "RFC822" */
    struct section section;
    const struct str *fields; /* of HEADER.FIELDS */
    size_t field_count;
    bool partial;
    uint64_t offset;
    uint64_t length;
};

struct fetch {
    struct fetch_item items[FETCH_ITEMS_MAX];
    size_t item_count;
    bool has_since;
    uint64_t since; /* CHANGEDSINCE */
    bool vanished;  /* UID FETCH ... VANISHED */
    bool partial;   /* PARTIAL: of the messages only the partial_first-th to the partial_last-th */
    bool from_end;
    uint32_t partial_first;
    uint32_t partial_last;
    size_t at; /* of the view, where no message is asked for */
    /* The message under way. */
    struct imap_entry *entry;
    struct imap_message message;
    struct summary summary;
    bool has_summary; /* with all texts that its items need */
    bool streaming;   /* the octets go out as they come */
    uint64_t left;    /* of them */
    struct buf body;
    struct mime mime;
    bool parsed;
    bool refused; /* BINARY of an unknown encoding: NO [UNKNOWN-CTE] */
    /* What comes behind it, where it is no command. */
    enum imap_request (*then)(struct imap_server *s, struct buf *out);
};

/* Reads all behind the set of messages. False: scan->why says what was expected. */
bool fetch_parse(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch);
/* Reads "(item item)" alone. */
bool fetch_parse_items(struct imap_server *s, struct imap_scan *scan, struct fetch *fetch);
/*
 * Tells these items of the messages of server->uids, without setting \Seen, then goes on with `then`; server->answer says whether
 * all could be told.
 */
enum imap_request imap_fetch_news(struct imap_server *s, const struct fetch *items,
                                  enum imap_request (*then)(struct imap_server *s, struct buf *out),
                                  struct buf *out);
/* The section of a URL: what FETCH has in square brackets. */
bool fetch_section_of_url(struct imap_server *s, struct str text, struct fetch_item *item);
/*
 * What has to be known of each message (enum imap_want), and which texts of its summary; 0: the view knows all. `octets`: a message
 * without a summary is worth reading.
 */
unsigned fetch_want(const struct fetch *fetch, unsigned *texts, bool *octets);
/* Whether the one item that needs octets is the message itself, so that they need not be collected. */
bool fetch_is_streamed(const struct fetch *fetch);
/* Whether seeing it sets \Seen. */
bool fetch_sets_seen(const struct fetch *fetch);
/* Writes the whole reply for the message under way. */
void fetch_write(struct imap_server *s, struct fetch *fetch, struct buf *out);
/* The same up to the octets of the streamed item, with fetch->left set. */
void fetch_write_head(struct imap_server *s, struct fetch *fetch, struct buf *out);

#endif
