/*
 * Messages and channels between roles: what is sent arrives whole and in order, descriptors go with their packet,
 * and a peer that breaks the rules loses its channel and nothing else (goal G18).
 */
#include "base/mem.h"
#include "ipc/proto_control.h"
#include "ipc/proto_directory.h"
#include "ipc/proto_log.h"
#include "ipc/proto_mailbox.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

struct end {
    struct channel *channel;
    unsigned messages;
    unsigned closes;
    uint64_t last_ticket;
    char last_address[64];
    int last_fd;
};

static void on_message(void *context, struct channel *channel, const struct ipc_type *type,
                       const void *message, int fd)
{
    (void)channel;
    struct end *end = context;
    end->messages++;
    end->last_fd = fd;
    if (type == &directory_recipient_type) {
        const struct directory_recipient *recipient = message;
        end->last_ticket = recipient->ticket;
        assert_true(recipient->address.len < sizeof(end->last_address));
        memcpy(end->last_address, recipient->address.data, recipient->address.len);
        end->last_address[recipient->address.len] = '\0';
    }
}

static void on_closed(void *context, struct channel *channel, const char *reason)
{
    (void)channel;
    (void)reason;
    struct end *end = context;
    end->closes++;
    end->channel = NULL;
}

static const struct channel_handler handler = {.message = on_message, .closed = on_closed};

static void passes(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++) {
        loop_pass(loop, false);
    }
}

static void test_messages_arrive_in_order(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    struct end a = {0};
    struct end b = {0};
    a.channel = channel_open(loop, fds[0], &directory_to_smtpd, &handler, &a, "a");
    b.channel = channel_open(loop, fds[1], &directory_to_reader, &handler, &b, "b");
    for (uint64_t i = 1; i <= 1000; i++) {
        struct directory_recipient ask = {.ticket = i, .size = 7, .address = STR("user@example.org")};
        assert_true(channel_send(a.channel, &directory_recipient_type, &ask));
    }
    passes(loop, 200);
    assert_int_equal(b.messages, 1000);
    assert_int_equal(b.last_ticket, 1000);
    assert_string_equal(b.last_address, "user@example.org");
    channel_close(a.channel);
    passes(loop, 3);
    assert_int_equal(b.closes, 1);
    loop_free(loop);
}

static void test_a_value_beyond_its_bound_is_not_sent(void **state)
{
    (void)state;
    struct buf out = buf_make(IPC_PACKET_MAX);
    char long_address[DIRECTORY_ADDRESS_MAX + 1];
    memset(long_address, 'x', sizeof(long_address));
    struct directory_recipient ask = {.address = str_make(long_address, sizeof(long_address))};
    assert_false(ipc_encode(&directory_recipient_type, &ask, &out));
    assert_int_equal(out.len, 0);
    struct directory_sender_answer answer = {.verdict = 99};
    assert_false(ipc_encode(&directory_sender_answer_type, &answer, &out));
    buf_free(&out);
}

static void test_every_cut_and_every_extra_byte_is_refused(void **state)
{
    (void)state;
    struct buf out = buf_make(IPC_PACKET_MAX);
    struct directory_recipient ask = {.ticket = 5, .address = STR("a@b")};
    assert_true(ipc_encode(&directory_recipient_type, &ask, &out));
    struct directory_recipient got;
    assert_true(ipc_decode(&directory_recipient_type, buf_str(&out), &got));
    assert_true(str_equal(got.address, STR("a@b")));
    for (size_t len = 0; len < out.len; len++) {
        assert_false(ipc_decode(&directory_recipient_type, str_make(out.data, len), &got));
    }
    buf_append_char(&out, 'x');
    assert_false(ipc_decode(&directory_recipient_type, buf_str(&out), &got));
    buf_free(&out);
}

static void test_a_descriptor_goes_with_its_packet(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    int fds[2];
    int pipe_fds[2];
    assert_int_equal(channel_pair(fds), 0);
    assert_int_equal(pipe(pipe_fds), 0);
    struct end a = {0};
    struct end b = {0};
    a.channel = channel_open(loop, fds[0], &log_to_store, &handler, &a, "a");
    b.channel = channel_open(loop, fds[1], &log_to_smtpd, &handler, &b, "b");
    struct log_segment segment = {.segment = 1, .size_limit = 2};
    assert_true(channel_send_fd(a.channel, &log_segment_type, &segment, pipe_fds[1]));
    passes(loop, 10);
    assert_int_equal(b.messages, 1);
    assert_true(b.last_fd >= 0);
    assert_int_equal(write(b.last_fd, "x", 1), 1);
    char c;
    assert_int_equal(read(pipe_fds[0], &c, 1), 1);
    close(b.last_fd);
    close(pipe_fds[0]);
    channel_close(a.channel);
    channel_close(b.channel);
    passes(loop, 2);
    loop_free(loop);
}

/* Sends raw packets to a channel and expects it to close, once. */
static void expect_closed(const struct str *packets, size_t count)
{
    struct loop *loop = loop_new();
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    struct end b = {0};
    b.channel = channel_open(loop, fds[1], &directory_to_reader, &handler, &b, "b");
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(send(fds[0], packets[i].data, packets[i].len, MSG_NOSIGNAL), packets[i].len);
    }
    passes(loop, 5);
    assert_int_equal(b.closes, 1);
    close(fds[0]);
    passes(loop, 2);
    loop_free(loop);
}

static void test_a_peer_that_breaks_the_rules_is_closed(void **state)
{
    (void)state;
    struct str hello = STR("\0\0\1\0sdrv");
    const struct str no_hello[] = {STR("\1\0abc")};
    expect_closed(no_hello, 1);
    const struct str wrong_version[] = {STR("\0\0\2\0sdrv")};
    expect_closed(wrong_version, 1);
    const struct str unknown[] = {hello, STR("\x63\0abc")};
    expect_closed(unknown, 2);
    const struct str cut[] = {hello, STR("\1\0abc")};
    expect_closed(cut, 2);
    static char huge[IPC_PACKET_MAX + 1];
    const struct str large[] = {hello, str_make(huge, sizeof(huge))};
    expect_closed(large, 2);
}

static void test_a_full_queue_says_no_and_recovers(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    struct end a = {0};
    struct end b = {0};
    a.channel = channel_open(loop, fds[0], &directory_to_smtpd, &handler, &a, "a");
    unsigned sent = 0;
    struct directory_recipient ask = {.address = STR("somebody@a-domain-of-some-length.example")};
    while (sent < 1000000 && channel_send(a.channel, &directory_recipient_type, &ask)) {
        sent++;
    }
    assert_true(sent > 1000 && sent < 1000000);
    b.channel = channel_open(loop, fds[1], &directory_to_reader, &handler, &b, "b");
    for (int i = 0; i < 100000 && b.messages < sent; i++) {
        loop_pass(loop, false);
    }
    assert_int_equal(b.messages, sent);
    assert_true(channel_send(a.channel, &directory_recipient_type, &ask));
    channel_close(a.channel);
    channel_close(b.channel);
    passes(loop, 2);
    loop_free(loop);
}

/* Messages packed together come out as they went in; what is cut off or lies about its lengths ends the taking out. */
static void test_packed_messages(void **state)
{
    struct buf packed = buf_make(MAILBOX_PACKED_MAX);
    struct mailbox_message out;
    (void)state;
    for (uint32_t i = 1; i <= 3; i++) {
        struct mailbox_message m = {.uid = i,
                                    .size = 1000 + i,
                                    .internal_ms = 1ULL << 40,
                                    .saved_ms = i,
                                    .record = STR("abcdefghijkl"),
                                    .summary = str_sub(STR("summary"), 0, i),
                                    .bytes = i == 2 ? STR_EMPTY : STR("octets")};
        assert_true(mailbox_pack(&m, m.bytes.len, &packed) && buf_append_str(&packed, m.bytes));
        size_t before = packed.len;
        assert_false(mailbox_pack(&m, MAILBOX_PACKED_MAX, &packed));
        assert_int_equal(packed.len, before);
    }
    for (size_t cut = 0; cut <= packed.len; cut++) {
        struct str rest = str_sub(buf_str(&packed), 0, cut);
        uint32_t count = 0;
        while (mailbox_unpack(&rest, &out)) {
            count++;
            assert_int_equal(out.uid, count);
            assert_int_equal(out.size, 1000 + count);
            assert_int_equal(out.summary.len, count);
            assert_true(out.internal_ms == 1ULL << 40 && out.whole &&
                        str_equal(out.record, STR("abcdefghijkl")));
            assert_true(str_equal(out.bytes, count == 2 ? STR_EMPTY : STR("octets")));
        }
        assert_true(count < 3 ? cut < packed.len : rest.len == 0);
    }
    memset(packed.data + 40, 0xff, 8);
    struct str rest = buf_str(&packed);
    assert_false(mailbox_unpack(&rest, &out));
    buf_free(&packed);
}

static void test_failed_allocations_cost_the_message_only(void **state)
{
    (void)state;
    for (uint64_t k = 1; k < 40; k++) {
        int64_t before = mem_live();
        struct loop *loop = loop_new();
        int fds[2];
        assert_int_equal(channel_pair(fds), 0);
        struct end a = {0};
        struct end b = {0};
        mem_fail_at(k, 1);
        a.channel = channel_open(loop, fds[0], &directory_to_smtpd, &handler, &a, "a");
        b.channel = channel_open(loop, fds[1], &directory_to_reader, &handler, &b, "b");
        struct directory_recipient ask = {.ticket = 1, .address = STR("a@b")};
        if (a.channel != NULL) {
            channel_send(a.channel, &directory_recipient_type, &ask);
        }
        passes(loop, 5);
        mem_fail_at(0, 0);
        channel_close(a.channel);
        channel_close(b.channel);
        passes(loop, 3);
        loop_free(loop);
        assert_int_equal(mem_live(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_arrive_in_order),
        cmocka_unit_test(test_a_value_beyond_its_bound_is_not_sent),
        cmocka_unit_test(test_every_cut_and_every_extra_byte_is_refused),
        cmocka_unit_test(test_a_descriptor_goes_with_its_packet),
        cmocka_unit_test(test_a_peer_that_breaks_the_rules_is_closed),
        cmocka_unit_test(test_a_full_queue_says_no_and_recovers),
        cmocka_unit_test(test_packed_messages),
        cmocka_unit_test(test_failed_allocations_cost_the_message_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
