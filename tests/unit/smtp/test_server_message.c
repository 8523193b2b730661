/*
 * Messages in the SMTP server engine: DATA and BDAT in every order (RFC 3030), one reply a recipient with LMTP (2033), what
 * ends a transaction, loops, and the sender addresses of a submitted header.
 */
#include "talk.h"

#define SENDER_OK  "250 2.1.0 Sender OK\r\n"
#define RCPT_OK    "250 2.1.5 Recipient OK\r\n"
#define GO_ON      "354 End data with <CRLF>.<CRLF>\r\n"
#define STORED     "250 2.0.0 Stored as 0000000000000000test\r\n"
#define CHUNK_OK   "250 2.0.0 Chunk OK\r\n"
#define DATA_FIRST "503 5.5.1 MAIL and RCPT come before the data\r\n"
#define BARE_CR    "550 5.6.0 The message has a CR that is not followed by LF; lines must end in CRLF\r\n"
#define BARE_LF    "550 5.6.0 The message has an LF without a CR before it; lines must end in CRLF\r\n"
#define HAS_NUL                                                                                              \
    "550 5.6.0 The message has a NUL character; encode binary content, or send it by BDAT with "             \
    "BODY=BINARYMIME\r\n"
#define UNDER_WAY "503 5.5.1 A transaction is under way; RSET ends it\r\n"
#define RESET     "250 2.0.0 Reset: sender and recipients are forgotten\r\n"
#define OK        "250 2.0.0 OK\r\n"
#define HELLO     "250 mx.here.example\r\n"

/* Sequences: what is sent behind EHLO (and MAIL and RCPT where marked), what is said, and what is stored. */
struct sequence {
    const char *name;
    bool with_rcpt;
    const char *input;
    size_t len;
    const char *replies;
    const char *commit; /* behind "COMMIT from=<a@away.example>"; NULL: none */
};

#define BYTES(literal) literal, sizeof(literal) - 1

static const struct sequence sequences[] = {
    {"one chunk", true, BYTES("BDAT 8 LAST\r\nA: b\r\n\r\n"), STORED,
     " to=<b@here.example> 8 octets\nA: b\r\n\r\n\nEND\n"},
    {"three chunks", true, BYTES("BDAT 3\r\nA: BDAT 3\r\nb\r\nBDAT 2 LAST\r\n\r\n"), CHUNK_OK CHUNK_OK STORED,
     " to=<b@here.example> 8 octets\nA: b\r\n\r\n\nEND\n"},
    {"CRLF parted by chunks", true, BYTES("BDAT 5\r\nA: b\rBDAT 1 LAST\r\n\n"), CHUNK_OK STORED,
     " to=<b@here.example> 6 octets\nA: b\r\n\nEND\n"},
    {"dots stay", true, BYTES("BDAT 9 LAST\r\n.\r\n..\r\n.x"), STORED,
     " to=<b@here.example> 9 octets\n.\r\n..\r\n.x\nEND\n"},
    {"empty", true, BYTES("BDAT 0 LAST\r\n"), STORED, " to=<b@here.example> 0 octets\n\nEND\n"},
    {"empty chunks", true, BYTES("BDAT 0\r\nBDAT 0\r\nBDAT 1 LAST\r\nx"), CHUNK_OK CHUNK_OK STORED,
     " to=<b@here.example> 1 octets\nx\nEND\n"},
    {"chunk with bare LF", true, BYTES("BDAT 3 LAST\r\na\nbNOOP\r\n"), BARE_LF OK, NULL},
    {"chunk with bare CR", true, BYTES("BDAT 3 LAST\r\na\rbNOOP\r\n"), BARE_CR OK, NULL},
    {"chunk with NUL", true, BYTES("BDAT 3 LAST\r\na\0bNOOP\r\n"), HAS_NUL OK, NULL},
    {"chunk that ends in CR", true, BYTES("BDAT 3\r\nab\rBDAT 0 LAST\r\n"), CHUNK_OK BARE_CR, NULL},
    {"commands inside a chunk", true, BYTES("BDAT 12\r\nRSET\r\nQUIT\r\nRSET\r\nBDAT 2 LAST\r\nxy"),
     CHUNK_OK RESET DATA_FIRST, NULL},
    {"RSET between chunks", true, BYTES("BDAT 2\r\nxyRSET\r\nBDAT 2 LAST\r\nxyNOOP\r\n"),
     CHUNK_OK RESET DATA_FIRST OK, NULL},
    {"EHLO between chunks", true, BYTES("BDAT 2\r\nxyHELO c\r\nBDAT 2 LAST\r\nxyNOOP\r\n"),
     CHUNK_OK HELLO DATA_FIRST OK, NULL},
    {"NOOP between chunks", true, BYTES("BDAT 2\r\nxyNOOP\r\nBDAT 2 LAST\r\nz!"), CHUNK_OK OK STORED,
     " to=<b@here.example> 4 octets\nxyz!\nEND\n"},
    {"MAIL between chunks", true, BYTES("BDAT 2\r\nxyMAIL FROM:<x@y.example>\r\nBDAT 0 LAST\r\n"),
     CHUNK_OK UNDER_WAY STORED, " to=<b@here.example> 2 octets\nxy\nEND\n"},
    {"RCPT between chunks", true, BYTES("BDAT 2\r\nxyRCPT TO:<c@here.example>\r\nBDAT 0 LAST\r\n"),
     CHUNK_OK "503 5.5.1 RCPT comes before BDAT\r\n" STORED, " to=<b@here.example> 2 octets\nxy\nEND\n"},
    {"DATA behind a chunk", true, BYTES("BDAT 2\r\nxyDATA\r\nBDAT 0 LAST\r\n"),
     CHUNK_OK "503 5.5.1 BDAT and DATA do not go together\r\n" STORED,
     " to=<b@here.example> 2 octets\nxy\nEND\n"},
    {"chunk without MAIL", false, BYTES("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), DATA_FIRST OK, NULL},
    {"chunks without MAIL", false, BYTES("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
     DATA_FIRST DATA_FIRST OK, NULL},
    {"chunk without recipients", false, BYTES("MAIL FROM:<x@y.example>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
     SENDER_OK "554 5.5.1 No valid recipients\r\n" OK, NULL},
    {"last chunk without size", true, BYTES("BDAT LAST\r\nxyz"),
     "501 5.5.4 BDAT takes a number of octets and perhaps LAST\r\n", NULL},
    {"data", true, BYTES("DATA\r\nA: b\r\n\r\n.\r\n"), GO_ON STORED,
     " to=<b@here.example> 8 octets\nA: b\r\n\r\n\nEND\n"},
    {"empty data", true, BYTES("DATA\r\n.\r\n"), GO_ON STORED, " to=<b@here.example> 0 octets\n\nEND\n"},
    {"dots of data", true, BYTES("DATA\r\n..\r\n...\r\n.x\r\nx.\r\n.\r\n"), GO_ON STORED,
     " to=<b@here.example> 14 octets\n.\r\n..\r\nx\r\nx.\r\n\nEND\n"},
    {"8-bit data", true, BYTES("DATA\r\nA: \xff\xfe\r\n.\r\n"), GO_ON STORED,
     " to=<b@here.example> 7 octets\nA: \xff\xfe\r\n\nEND\n"},
    {"data with bare LF", true, BYTES("DATA\r\nx\n.\ny\r\n.\r\nNOOP\r\n"), GO_ON BARE_LF OK, NULL},
    {"data with bare CR", true, BYTES("DATA\r\nx\r.\ry\r\n.\r\nNOOP\r\n"), GO_ON BARE_CR OK, NULL},
    {"data with NUL", true, BYTES("DATA\r\nx\0y\r\n.\r\nNOOP\r\n"), GO_ON HAS_NUL OK, NULL},
    {"another message behind a refused one", true,
     BYTES("DATA\r\nx\n\r\n.\r\nDATA\r\nMAIL FROM:<a@away.example>\r\nRCPT "
           "TO:<c@here.example>\r\nDATA\r\ny\r\n.\r\n"),
     GO_ON BARE_LF DATA_FIRST SENDER_OK RCPT_OK GO_ON STORED, " to=<c@here.example> 3 octets\ny\r\n\nEND\n"},
};

static void run_sequence(const struct sequence *q, size_t split)
{
    struct driver d;
    char commit[300] = "";
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    if (q->with_rcpt) {
        driver_feed(&d, STR("MAIL FROM:<a@away.example>\r\nRCPT TO:<b@here.example>\r\n"));
        buf_clear(&d.out);
    }
    driver_feed_at(&d, str_make(q->input, q->len), split);
    expect_out_at(&d, str_of(q->replies), q->name, (int)split);
    struct str trace = buf_str(&d.trace);
    size_t at = str_find_str(trace, STR("COMMIT"));
    if (q->commit != NULL) {
        (void)snprintf(commit, sizeof(commit), "COMMIT from=<a@away.example>%s", q->commit);
    }
    assert_true(str_equal(at == SIZE_MAX ? STR_EMPTY : str_from(trace, at), str_of(commit)));
    assert_true(d.budget.used == 0 || d.server.transaction != NULL);
    driver_close(&d);
    assert_int_equal(0, d.budget.used);
}

static void test_sequences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
        for (size_t split = 0; split <= sequences[i].len; split++) {
            run_sequence(&sequences[i], split);
        }
    }
}

/* RFC 3030, section 2: after an error the chunks that are on their way are read and refused. */
static void test_chunks_behind_a_refused_one(void **state)
{
    (void)state;
    struct driver d;
    struct buf input = buf_make(1 << 20);
    buf_append_lit(&input, "BDAT 150000\r\n");
    memset(buf_reserve(&input, 150000), 'x', 150000);
    input.len += 150000;
    buf_append_lit(&input, "BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    for (size_t step = 0; step < 70000; step += 9999) {
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        driver_feed(&d, STR("MAIL FROM:<a@away.example>\r\nRCPT TO:<b@here.example>\r\n"));
        buf_clear(&d.out);
        driver_feed_by(&d, buf_str(&input), step);
        expect_out(&d,
                   "552 5.3.4 Message too large for this server; EHLO tells the limit as SIZE\r\n" DATA_FIRST
                       DATA_FIRST OK);
        assert_int_equal(0, d.commits);
        driver_close(&d);
    }
    buf_free(&input);
}

static void test_binary(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    talk(&d, "MAIL FROM:<a@away.example> BODY=BINARYMIME", SENDER_OK);
    talk(&d, "RCPT TO:<b@here.example>", RCPT_OK);
    talk(&d, "DATA", "503 5.5.1 BODY=BINARYMIME needs BDAT\r\n");
    send_raw(&d, "BDAT 13 LAST\r\nA: b\r\n\r\n\0\n\r\n\r", STORED);
    buf_clear(&d.trace);
    /* The header is lines all the same. */
    driver_feed(&d, STR("MAIL FROM:<a@away.example> BODY=BINARYMIME\r\nRCPT TO:<b@here.example>\r\n"));
    buf_clear(&d.out);
    send_raw(&d, "BDAT 15 LAST\r\nA: b\nB: c\r\n\r\n\0\n", BARE_LF);
    driver_feed(&d, STR("MAIL FROM:<a@away.example> BODY=BINARYMIME\r\nRCPT TO:<b@here.example>\r\n"));
    buf_clear(&d.out);
    send_raw(&d, "BDAT 6 LAST\r\nA: b\0\n", HAS_NUL); /* a header alone */
    driver_feed(&d, STR("MAIL FROM:<a@away.example> BODY=BINARYMIME\r\nRCPT TO:<b@here.example>\r\n"));
    buf_clear(&d.out);
    send_raw(&d, "BDAT 5 LAST\r\n\r\n\0\n\r", STORED); /* a body alone */
    driver_close(&d);
}

static void test_lmtp_replies(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_LMTP, false);
    greet(&d);
#define THREE                                                                                                \
    "MAIL FROM:<>\r\nRCPT TO:<a@here.example>\r\nRCPT TO:<unknown@here.example>\r\nRCPT "                    \
    "TO:<b@here.example>\r\n"                                                                                \
    "RCPT TO:<c@here.example>\r\n"
    driver_feed(&d, STR(THREE "DATA\r\n"));
    buf_clear(&d.out);
    send_raw(&d, "x\n\r\n.\r\n", BARE_LF BARE_LF BARE_LF);
    driver_feed(&d, STR(THREE));
    buf_clear(&d.out);
    send_raw(&d, "BDAT 1\r\nxBDAT 1 LAST\r\n\n", CHUNK_OK BARE_LF BARE_LF BARE_LF);
    driver_feed(&d, STR(THREE));
    buf_clear(&d.out);
    send_raw(&d, "BDAT 150000\r\n", "");
    for (int i = 0; i < 15000; i++) {
        driver_feed(&d, STR("xxxxxxxxxx"));
    }
    /* Not the last chunk: one reply. */
    expect_out(&d, "552 5.3.4 Message too large for this server; EHLO tells the limit as SIZE\r\n");
    driver_feed(&d, STR(THREE));
    buf_clear(&d.out);
    send_raw(&d, "BDAT 1 LAST\r\nx", STORED STORED STORED);
    driver_close(&d);
}

#define FULL "452 4.2.2 The recipient's mailbox is full, or too full for this message; try again later\r\n"
#define TEXT "0123456789012345678\r\n" /* 21 octets; "room" takes 20 */

/* A mailbox that turns out too small when all of the message is there. */
static void test_no_room_at_the_end(void **state)
{
    (void)state;
    struct driver d;
    driver_open(&d, SMTP_KIND_LMTP, false);
    greet(&d);
#define TWO                                                                                                  \
    "MAIL FROM:<>\r\nRCPT TO:<room@here.example>\r\nRCPT TO:<b@here.example>\r\nRCPT "                       \
    "TO:<room2@here.example>\r\n"
    driver_feed(&d, STR(TWO "DATA\r\n"));
    buf_clear(&d.out);
    buf_clear(&d.trace);
    send_raw(&d, TEXT ".\r\n", FULL STORED FULL);
    expect_trace(&d, "COMMIT from=<> to=<b@here.example> 21 octets\n" TEXT "\nEND\n");
    driver_feed(&d, STR(TWO));
    buf_clear(&d.out);
    send_raw(&d, "BDAT 20\r\n01234567890123456789BDAT 2 LAST\r\n\r\n", CHUNK_OK FULL STORED FULL);
    driver_feed(&d, STR(TWO "DATA\r\n"));
    buf_clear(&d.out);
    send_raw(&d, "012345678901234567\r\n.\r\n", STORED STORED STORED);
    driver_feed(
        &d, STR("MAIL FROM:<>\r\nRCPT TO:<room@here.example>\r\nRCPT TO:<room2@here.example>\r\nDATA\r\n"));
    buf_clear(&d.out);
    buf_clear(&d.trace);
    send_raw(&d, TEXT ".\r\n", FULL FULL);
    expect_trace(&d, "");
    driver_close(&d);
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    /* One reply for all: refused if nobody has room, else kept for all. */
    driver_feed(&d, STR("MAIL FROM:<>\r\nRCPT TO:<room@here.example>\r\nDATA\r\n"));
    buf_clear(&d.out);
    send_raw(&d, TEXT ".\r\n", FULL);
    driver_feed(&d, STR(TWO "DATA\r\n"));
    buf_clear(&d.out);
    buf_clear(&d.trace);
    send_raw(&d, TEXT ".\r\n", STORED);
    expect_trace(
        &d,
        "COMMIT from=<> to=<room@here.example> to=<b@here.example> to=<room2@here.example> 21 octets\n" TEXT
        "\nEND\n");
    driver_close(&d);
}

/* What ends a transaction, and that nothing of it is left. */
static void test_resets(void **state)
{
    (void)state;
    static const char *const enders[] = {"RSET\r\n",        "EHLO c\r\n",        "HELO c\r\n",
                                         "STARTTLS\r\n",    "DATA\r\n.\r\n",     "DATA\r\n\n\r\n.\r\n",
                                         "BDAT 0 LAST\r\n", "BDAT 1 LAST\r\n\n", "QUIT\r\n"};
    for (size_t i = 0; i < sizeof(enders) / sizeof(enders[0]); i++) {
        struct driver d;
        driver_open(&d, SMTP_KIND_MX, false);
        greet(&d);
        driver_feed(&d, STR("MAIL FROM:<a@away.example> BODY=8BITMIME\r\nRCPT TO:<b@here.example>\r\n"));
        driver_feed(&d, str_of(enders[i]));
        assert_true(d.closed || d.server.transaction == NULL);
        if (!d.closed) {
            driver_feed(&d, STR("EHLO c\r\n"));
            buf_clear(&d.out);
            buf_clear(&d.trace);
            talk(&d, "RCPT TO:<c@here.example>", "503 5.5.1 MAIL comes before RCPT\r\n");
            talk(&d, "DATA", DATA_FIRST);
            talk(&d, "MAIL FROM:<n@away.example>", SENDER_OK);
            talk(&d, "DATA", "554 5.5.1 No valid recipients\r\n");
            talk(&d, "RCPT TO:<c@here.example>", RCPT_OK);
            talk(&d, "BDAT 0 LAST", STORED);
            expect_trace(
                &d,
                "RCPT c@here.example\nCOMMIT from=<n@away.example> to=<c@here.example> 0 octets\n\nEND\n");
        }
        driver_close(&d);
    }
}

static void feed_message(struct driver *d, const char *recipients, struct str message)
{
    driver_feed(d, STR("MAIL FROM:<user@here.example>\r\n"));
    driver_feed(d, str_of(recipients));
    driver_feed(d, STR("DATA\r\n"));
    buf_clear(&d->out);
    driver_feed(d, message);
    driver_feed(d, STR("\r\n.\r\n"));
}

/* Loops: as many Received fields as there may be hosts, or delivered already to all who shall get it. */
static void test_loops(void **state)
{
    (void)state;
#define HOP     "Received: from x\r\n"
#define HOPS9   HOP HOP HOP "RECEIVED : by y\r\n" HOP HOP HOP "received:\r\n z\r\n" HOP
#define TO_B    "RCPT TO:<b@here.example>\r\n"
#define TOO_FAR "554 5.4.6 The message has passed through too many hosts: it is in a loop\r\n"
#define BEFORE                                                                                               \
    "554 5.4.6 The message has been delivered to this address before (Delivered-To): it is in a loop\r\n"
    struct driver d;
    driver_open(&d, SMTP_KIND_MX, false);
    greet(&d);
    feed_message(&d, TO_B, STR(HOPS9 "A: b\r\n\r\n" HOP HOP HOP));
    expect_out(&d, STORED);
    feed_message(&d, TO_B, STR(HOPS9 "A: b\r\n" HOP "\r\n"));
    expect_out(&d, TOO_FAR);
    feed_message(&d, TO_B, STR("delivered-to:\t B@here.example \r\n\r\n"));
    expect_out(&d, BEFORE);
    feed_message(&d, TO_B, STR("Delivered-To: c@here.example\r\n\r\nDelivered-To: b@here.example"));
    expect_out(&d, STORED);
    feed_message(&d, TO_B "RCPT TO:<c@here.example>\r\n", STR("Delivered-To: b@here.example\r\n\r\n"));
    expect_out(&d, STORED); /* the other one shall get it */
    feed_message(&d, TO_B "RCPT TO:<c@here.example>\r\n",
                 STR("Delivered-To: b@here.example\r\nDelivered-To: c@here.example\r\n\r\n"));
    expect_out(&d, BEFORE);
    struct buf many = buf_make(10000);
    for (int i = 0; i < 100; i++) {
        buf_append_lit(&many, "Delivered-To: x@away.example\r\n");
    }
    feed_message(&d, TO_B, buf_str(&many));
    expect_out(&d, BEFORE);
    buf_free(&many);
    driver_close(&d);
}

/* The From and Sender fields of a login's message. */

#define MANY_FROM "550 5.6.0 The message has more than one From field; a message has exactly one\r\n"
#define NO_FROM   "550 5.6.0 The message has no From field with an address\r\n"
#define BAD_FROM  "550 5.6.0 The From or Sender field cannot be read; write From: Name <user@example.org>\r\n"
#define FOREIGN   "550 5.7.1 The From or Sender address of this message does not belong to your login\r\n"
#define LATER     "451 4.3.0 Sender addresses cannot be checked now; try again later\r\n"

static const struct {
    const char *header;
    const char *reply;
} headers[] = {
    {"From: user@here.example", STORED},
    {"from : USER@here.example", FOREIGN}, /* local parts are not folded here; the answer is the reader's */
    {"FROM:user@HERE.example", STORED},
    {"From: <user@here.example>", STORED},
    {"From: \"Me, Myself\" <user@here.example>", STORED},
    {"From: =?utf-8?q?boss=40here.example?= <user@here.example>", STORED},
    {"From: (boss@here.example) user@here.example (x)", STORED},
    {"From: user (a) @ (b) here.example", STORED},
    {"From: user@here (x) . example", STORED},
    {"From:\r\n user@here.example", STORED},
    {"From: user@here.example,\r\n\talias@here.example", STORED},
    {"From: us: user@here.example, alias@here.example;", STORED},
    {"From: \"user\"@here.example", STORED},
    {"From: \"us\\er\"@here.example", STORED},
    {"From: <@a.example,@b.example:user@here.example>", STORED},
    {"From: user@here.example\r\nSender: alias@here.example", STORED},
    {"From: user@here.example,", STORED},
    {"X: y", NO_FROM},
    {"From:", NO_FROM},
    {"From: undisclosed:;", NO_FROM},
    {"From: ,", NO_FROM},
    {"From: boss@here.example", FOREIGN},
    {"From: Me <boss@here.example>", FOREIGN},
    {"From: user@here.example <boss@here.example>", FOREIGN},
    {"From: \"user@here.example\" <boss@here.example>", FOREIGN},
    {"From: user@here.example, boss@here.example", FOREIGN},
    {"From: boss@here.example, user@here.example", FOREIGN},
    {"From: us: user@here.example, boss@here.example;", FOREIGN},
    {"From: user@here.example\r\nSender: boss@here.example", FOREIGN},
    {"Sender: boss@here.example\r\nFrom: user@here.example", FOREIGN},
    {"From: user@here.example.", BAD_FROM},
    {"From: user@xn--here.example", FOREIGN},
    {"From: user@here.example\r\nFrom: user@here.example", MANY_FROM},
    {"From: user@here.example\r\nfrom: boss@here.example", MANY_FROM},
    {"From: user@here.example\r\nX: y\r\nFrom : boss@here.example", MANY_FROM},
    {"From: boss@here.example\r\nFrom: user@here.example", MANY_FROM},
    {" From: boss@here.example\r\nFrom: user@here.example", MANY_FROM},
    {"no field\r\nFrom: boss@here.example", FOREIGN},
    {"From: user", BAD_FROM},
    {"From: Me", BAD_FROM},
    {"From: user@here.example boss@here.example", BAD_FROM},
    {"From: <user@here.example> <boss@here.example>", BAD_FROM},
    {"From: <user@here.example> boss@here.example", BAD_FROM},
    {"From: <user@here.example", BAD_FROM},
    {"From: us er@here.example", BAD_FROM},
    {"From: us(x)er@here.example", BAD_FROM},
    {"From: user@here .exa mple", BAD_FROM},
    {"From: user@here.example@away.example", BAD_FROM},
    {"From: <user@here.example,boss@here.example>", BAD_FROM},
    {"From: us: them: user@here.example;;", BAD_FROM},
    {"From: us: user@here.example", BAD_FROM},
    {"From: (user@here.example", NO_FROM},
    {"From: \"user@here.example", BAD_FROM},
    {"From: fail@here.example", LATER},
    {"From: <>", BAD_FROM},
};

static void test_header_senders(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        struct driver d;
        struct buf message = buf_make(1000);
        open_logged_in(&d);
        buf_append_str(&message, str_of(headers[i].header));
        buf_append_lit(&message, "\r\n\r\nFrom: boss@here.example\r\n");
        feed_message(&d, "RCPT TO:<z@away.example>\r\n", buf_str(&message));
        expect_out_at(&d, str_of(headers[i].reply), headers[i].header, (int)i);
        assert_int_equal(headers[i].reply[0] == '2', d.commits);
        assert_null(d.server.transaction);
        buf_free(&message);
        driver_close(&d);
        /* Where any sender is allowed, and on port 25, nobody looks. */
        driver_defaults(&d, SMTP_KIND_SUBMISSION);
        d.settings.foreign_senders = true;
        driver_begin(&d, true);
        greet(&d);
        talk(&d, "AUTH PLAIN AHVzZXIAc2VjcmV0", "235 2.7.0 Logged in\r\n");
        feed_message(&d, "RCPT TO:<z@away.example>\r\n", str_of(headers[i].header));
        expect_out(&d, STORED);
        driver_close(&d);
    }
}

static void test_too_many_senders(void **state)
{
    (void)state;
    struct driver d;
    struct buf message = buf_make(10000);
    open_logged_in(&d);
    buf_append_lit(&message, "From: user@here.example");
    for (int i = 0; i < 15; i++) {
        buf_append_lit(&message, ", user@here.example");
    }
    feed_message(&d, "RCPT TO:<z@away.example>\r\n", buf_str(&message));
    expect_out(&d, STORED);
    buf_append_lit(&message, ", user@here.example");
    feed_message(&d, "RCPT TO:<z@away.example>\r\n", buf_str(&message));
    expect_out(&d, BAD_FROM);
    buf_free(&message);
    driver_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_chunks_behind_a_refused_one),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_lmtp_replies),
        cmocka_unit_test(test_no_room_at_the_end),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_header_senders),
        cmocka_unit_test(test_too_many_senders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
