/* Hostile clients of the SMTP server engine, within the limits that the configuration sets by default; see growth.h. */
#include "growth.h"

#include "../unit/smtp/driver.h"

static void run_session(enum smtp_server_kind kind, bool tls, size_t step, struct str input)
{
    struct driver d;
    driver_defaults(&d, kind);
    d.settings.message_size = 50 << 20;
    d.settings.recipients = 1000;
    d.settings.transactions = 100000;
    d.settings.hops = 100;
    d.settings.catch_all = true;
    d.settings.repair_newlines = true;
    driver_begin(&d, tls);
    d.server.event = NULL; /* the driver's own writing is not to be counted */
    driver_feed_by(&d, input, step);
    driver_close(&d);
}

static void run_mx(struct str input)
{
    run_session(SMTP_KIND_MX, false, 4096, input);
}

static void run_mx_by_octets(struct str input)
{
    run_session(SMTP_KIND_MX, false, 1, input);
}

static void run_submission(struct str input)
{
    run_session(SMTP_KIND_SUBMISSION, true, 4096, input);
}

#define HELLO "EHLO c\r\n"
#define MAIL  HELLO "MAIL FROM:<a@away.example>\r\n"
#define DATA  MAIL "RCPT TO:<b@here.example>\r\nDATA\r\n"
#define LOGIN                                                                                                \
    HELLO "AUTH PLAIN AHVzZXIAc2VjcmV0\r\nMAIL FROM:<user@here.example>\r\nRCPT "                            \
          "TO:<b@here.example>\r\nDATA\r\n"
#define END "\r\n.\r\n"

static const struct growth_case cases[] = {
    {"smtp-noop", "", "NOOP\r\n", "", run_mx},
    {"smtp-noop-by-octets", "", "NOOP\r\n", "", run_mx_by_octets},
    {"smtp-ehlo", "", "EHLO x\r\n", "", run_mx},
    {"smtp-empty-lines", "", "\r\n", "", run_mx},
    {"smtp-endless-line", "", "x", "", run_mx},
    {"smtp-endless-line-by-octets", "", "x", "", run_mx_by_octets},
    {"smtp-long-lines-by-octets", "", "NOOP xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", "",
     run_mx_by_octets},
    {"smtp-mail-rset", HELLO, "MAIL FROM:<a@away.example>\r\nRSET\r\n", "", run_mx},
    {"smtp-rcpt", MAIL, "RCPT TO:<b@here.example>\r\n", "DATA\r\n.\r\n", run_mx},
    {"smtp-rcpt-refused", MAIL, "RCPT TO:<full-now@here.example>\r\n", "", run_mx},
    {"smtp-rcpt-routes", MAIL,
     "RCPT TO:<@a.example,@b.example,@c.example,@d.example:b@here.example> NOTIFY=SUCCESS,FAILURE,DELAY "
     "ORCPT=rfc822;b@here.example\r\n",
     "", run_mx},
    {"smtp-chunks", MAIL "RCPT TO:<b@here.example>\r\n", "BDAT 1\r\nx", "BDAT 0 LAST\r\n", run_mx},
    {"smtp-skipped-chunks", HELLO, "BDAT 1\r\nx", "", run_mx},
    {"smtp-data-text", DATA, "some words of a message that nobody needs\r\n", END, run_mx},
    {"smtp-data-by-octets", DATA, "some words of a message that nobody needs\r\n", END, run_mx_by_octets},
    {"smtp-data-dots", DATA, "..\r\n", END, run_mx},
    {"smtp-data-line-ends", DATA, "\r\n", END, run_mx},
    {"smtp-data-bare-cr", DATA, "\r", END, run_mx},
    {"smtp-data-repaired", DATA, "\n", END, run_submission},
    {"smtp-data-repaired-dots", DATA, "\n.\r", END, run_submission},
    {"smtp-received", DATA, "Received:\r\n", END, run_mx},
    {"smtp-header-folds", DATA, "X:\r\n \r\n", END, run_mx},
    {"smtp-delivered-to",
     MAIL "RCPT TO:<b@here.example>\r\nRCPT TO:<c@here.example>\r\nRCPT TO:<d@here.example>\r\nDATA\r\n",
     "Delivered-To: b@here.example\r\n", END, run_mx},
    {"smtp-from-mailboxes", LOGIN "From: ", "user@here.example,\r\n ", END, run_submission},
    {"smtp-from-comments", LOGIN "From: ", "(", END, run_submission},
    {"smtp-from-comment-pairs", LOGIN "From: u", "(a)", "@here.example" END, run_submission},
    {"smtp-from-groups", LOGIN "From: ", "a:;", END, run_submission},
    {"smtp-auth-long", HELLO "AUTH PLAIN ", "QUJD", "\r\n", run_submission},
    {"smtp-auth-cancelled", HELLO, "AUTH LOGIN\r\n*\r\n", "", run_submission},
};

static const struct growth_table growth_smtp = {cases, sizeof(cases) / sizeof(cases[0])};
void (*const growth_prepare)(void) = NULL;
const struct growth_table *const growth_tables[] = {&growth_smtp, &growth_message, &growth_mime};
const size_t growth_table_count = sizeof(growth_tables) / sizeof(growth_tables[0]);
