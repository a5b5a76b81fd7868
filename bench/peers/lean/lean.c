// Lean: the least that a WebSocket server on io_uring can do, to measure how far Holdfast is from it.
//
// In:  lean PORT PING_INTERVAL_MS.
// Out: upgrades everybody, sends each message back, pings every connection once in each interval.
//
// One thread. It knows no limits, no sessions, no queues, no messages in part and no wrong input: a load tool on the same
// machine is its only client. What it leaves out is what Holdfast's figures are compared with (docs/benchmarks.md).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONNECTIONS = 16384, BUFFERS = 1024, BUFFER_BYTES = 2048, GROUP = 0, TICK_MS = 50 };
enum { ACCEPT = 1, RECEIVE = 2, SEND = 3 };

// What is sent stays here until the next turn is over: a ring of bytes that is never full.
static unsigned char out[1 << 24];
static size_t out_at;

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static unsigned char memory[BUFFERS][BUFFER_BYTES];
static unsigned char is_open[CONNECTIONS];

static struct io_uring_sqe *next(void) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    while (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    return sqe;
}

static void name(struct io_uring_sqe *sqe, unsigned operation, unsigned slot) {
    io_uring_sqe_set_data64(sqe, (unsigned long long)operation << 32 | slot);
}

static void receive(unsigned slot) {
    struct io_uring_sqe *sqe = next();
    io_uring_prep_recv(sqe, slot, NULL, 0, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    name(sqe, RECEIVE, slot);
}

static unsigned char *room(size_t bytes) {
    if (out_at + bytes > sizeof out) out_at = 0;
    unsigned char *at = out + out_at;
    out_at += bytes;
    return at;
}

static void transmit(unsigned slot, const unsigned char *bytes, size_t count) {
    struct io_uring_sqe *sqe = next();
    io_uring_prep_send(sqe, slot, bytes, count, MSG_WAITALL);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
    name(sqe, SEND, slot);
}

static unsigned rol(unsigned value, int by) { return value << by | value >> (32 - by); }

// SHA-1 (FIPS 180-4) of fewer than 120 bytes.
static void sha1(const char *text, size_t length, unsigned char digest[20]) {
    unsigned char block[128] = {0};
    memcpy(block, text, length);
    block[length] = 0x80;
    size_t blocks = length < 56 ? 1 : 2;
    for (int i = 0; i < 4; i++) block[blocks * 64 - 1 - i] = (unsigned char)(length * 8 >> 8 * i);
    unsigned h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    for (size_t b = 0; b < blocks; b++) {
        unsigned w[80];
        for (int i = 0; i < 16; i++) {
            unsigned big;
            memcpy(&big, block + b * 64 + 4 * i, 4);
            w[i] = ntohl(big);
        }
        for (int i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        unsigned a = h[0], c = h[1], d = h[2], e = h[3], f = h[4];
        for (int i = 0; i < 80; i++) {
            unsigned mixed = i < 20 ? (c & d) | (~c & e) : i < 40 || i >= 60 ? c ^ d ^ e : (c & d) | (c & e) | (d & e);
            static const unsigned k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
            unsigned sum = rol(a, 5) + mixed + f + k[i / 20] + w[i];
            f = e, e = d, d = rol(c, 30), c = a, a = sum;
        }
        h[0] += a, h[1] += c, h[2] += d, h[3] += e, h[4] += f;
    }
    for (int i = 0; i < 5; i++) {
        unsigned big = htonl(h[i]);
        memcpy(digest + 4 * i, &big, 4);
    }
}

static void upgrade(unsigned slot, unsigned char *head, size_t count) {
    static const char field[] = "sec-websocket-key: ", letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    head[count < BUFFER_BYTES ? count : BUFFER_BYTES - 1] = 0;
    char *key = strcasestr((char *)head, field);
    if (!key) exit(3);
    char text[61];
    memcpy(text, key + sizeof field - 1, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 37);
    unsigned char digest[21] = {0};
    sha1(text, 60, digest);
    char accept[29] = {0};
    for (int i = 0; i < 7; i++) {
        unsigned triple = digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++) accept[4 * i + j] = letters[triple >> (18 - 6 * j) & 63];
    }
    accept[27] = '=';
    char *answer = (char *)room(256);
    int length = snprintf(answer, 256,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    transmit(slot, (unsigned char *)answer, (size_t)length);
    is_open[slot] = 1;
}

// Whole frames of fewer than 126 bytes.
static void frames(unsigned slot, unsigned char *bytes, size_t count) {
    while (count >= 6) {
        size_t length = bytes[1] & 127;
        unsigned char *payload = bytes + 6, operation = bytes[0] & 15;
        for (size_t i = 0; i < length; i++) payload[i] ^= bytes[2 + i % 4];
        if (operation == 1 || operation == 2 || operation == 8) {
            unsigned char *frame = room(length + 2);
            frame[0] = bytes[0], frame[1] = (unsigned char)length;
            memcpy(frame + 2, payload, length);
            transmit(slot, frame, length + 2);
        }
        bytes += length + 6, count -= length + 6;
    }
}

static long long now_ms(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000LL + at.tv_nsec / 1000000;
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "usage: lean PORT PING_INTERVAL_MS\n"), 2;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) return perror("listen"), 1;

    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
                                     .cq_entries = 65536};
    if (io_uring_queue_init_params(4096, &ring, &params)) return perror("io_uring"), 1;
    io_uring_register_ring_fd(&ring);
    if (io_uring_register_files_sparse(&ring, CONNECTIONS)) return perror("files"), 1;
    buffers = aligned_alloc(4096, BUFFERS * sizeof(struct io_uring_buf));
    struct io_uring_buf_reg group = {.ring_addr = (unsigned long)buffers, .ring_entries = BUFFERS, .bgid = GROUP};
    if (io_uring_register_buf_ring(&ring, &group, 0)) return perror("buffers"), 1;
    io_uring_buf_ring_init(buffers);
    for (int i = 0; i < BUFFERS; i++)
        io_uring_buf_ring_add(buffers, memory[i], BUFFER_BYTES, (unsigned short)i, BUFFERS - 1, i);
    io_uring_buf_ring_advance(buffers, BUFFERS);
    struct io_uring_sqe *sqe = next();
    io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
    name(sqe, ACCEPT, 0);
    printf("ready\n");
    fflush(stdout);

    long long interval_ms = atoll(arguments[2]), pinged_at = now_ms();
    unsigned ping_next = 0;
    for (;;) {
        struct __kernel_timespec patience = {.tv_nsec = TICK_MS * 1000000LL};
        struct io_uring_cqe *cqe;
        int waited = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &patience, NULL);
        if (waited < 0 && waited != -ETIME && waited != -EINTR) return 1;
        unsigned head, seen = 0, given = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            seen++;
            unsigned operation = (unsigned)(cqe->user_data >> 32), slot = (unsigned)cqe->user_data;
            if (operation == ACCEPT && cqe->res >= 0) {
                receive((unsigned)cqe->res);
            } else if (operation == RECEIVE && cqe->res > 0) {
                unsigned short buffer = (unsigned short)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
                if (is_open[slot]) frames(slot, memory[buffer], (size_t)cqe->res);
                else upgrade(slot, memory[buffer], (size_t)cqe->res);
                io_uring_buf_ring_add(buffers, memory[buffer], BUFFER_BYTES, buffer, BUFFERS - 1, (int)given++);
                receive(slot);
            } else if (operation == RECEIVE && cqe->res == -ENOBUFS) {
                receive(slot);
            } else if (operation == RECEIVE) {
                is_open[slot] = 0;
                io_uring_prep_close_direct(sqe = next(), slot);
                sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
                name(sqe, SEND, slot);
            }
        }
        io_uring_cq_advance(&ring, seen);
        io_uring_buf_ring_advance(buffers, (int)given);
        // The share of all slots whose turn has come since the last time.
        long long now = now_ms(), due = (now - pinged_at) * CONNECTIONS / interval_ms;
        static const unsigned char ping[2] = {0x89, 0};
        if (now - pinged_at >= TICK_MS) {
            for (; due > 0; due--, ping_next = (ping_next + 1) % CONNECTIONS)
                if (is_open[ping_next]) transmit(ping_next, ping, sizeof ping);
            pinged_at = now;
        }
    }
}
