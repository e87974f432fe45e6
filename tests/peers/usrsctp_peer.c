/*
 * Another implementation as peer: usrsctp over UDP (RFC 6951), as an echo server or as a client
 * that checks the echoes.
 *
 *   usrsctp_peer server --local A [--local B] [--port 9260] [--udp 9899] [--peer-udp 9899]
 *                       [--abort-after N] [--shutdown-after N]
 *   usrsctp_peer client --local A [--local B] --peer C [--peer D] [--port 9260] [--udp 9899]
 *                       [--peer-udp 9899] [--messages N] [--size BYTES] [--streams N]
 *                       [--window N] [--end shutdown|abort]
 *
 * A server echoes each message on its own stream and serves until it is killed; with --abort-after
 * or --shutdown-after it ends each association by itself after N messages. A client keeps --window
 * messages under way, demands each echo whole, unchanged and in the order of its stream, then ends
 * the association.
 *
 * Each line of output begins with what happened: ready, up, path, shutdown, lost, done, end. Exit
 * status: 0 if everything was echoed and the association ended as asked, 1 if not, 2 for a wrong
 * command line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <usrsctp.h>

#define MAX_ADDRESSES 8
#define MAX_STREAMS 1024
/* What Towpath sends at most in one message, and more than any case asks for. */
#define MAX_MESSAGE (256 * 1024)
/* Below 20 bytes a message has no room for its stream, its number and its total. */
#define MIN_MESSAGE 20

struct options {
	struct sockaddr_in local[MAX_ADDRESSES], peer[MAX_ADDRESSES];
	int locals, peers;
	uint16_t port, udp, peer_udp;
	uint64_t messages, size, streams, window, abort_after, shutdown_after;
	int abort_at_end;
};

static struct options options = {
	.port = 9260, .udp = 9899, .peer_udp = 9899, .messages = 1000, .size = 1000, .streams = 4, .window = 32,
};

/* One line at once, so that threads do not mix theirs. */
static void say(const char *format, ...)
{
	char line[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	printf("%s\n", line);
	fflush(stdout);
}

static void die(const char *what)
{
	say("error %s: %s", what, strerror(errno));
	exit(1);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void set(struct socket *socket, int option, const void *value, socklen_t length, const char *what)
{
	if (usrsctp_setsockopt(socket, IPPROTO_SCTP, option, value, length) < 0)
		die(what);
}

static void configure(struct socket *socket)
{
	const uint16_t events[] = { SCTP_ASSOC_CHANGE, SCTP_PEER_ADDR_CHANGE, SCTP_SHUTDOWN_EVENT };
	struct sctp_initmsg streams = { .sinit_num_ostreams = MAX_STREAMS, .sinit_max_instreams = MAX_STREAMS };
	struct sctp_udpencaps encapsulation = { .sue_port = htons(options.peer_udp) };
	const int on = 1;
	size_t i;

	for (i = 0; i < sizeof events / sizeof events[0]; i++) {
		struct sctp_event event = { .se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = events[i], .se_on = 1 };
		set(socket, SCTP_EVENT, &event, sizeof event, "SCTP_EVENT");
	}
	encapsulation.sue_address.ss_family = AF_INET;
	set(socket, SCTP_REMOTE_UDP_ENCAPS_PORT, &encapsulation, sizeof encapsulation, "SCTP_REMOTE_UDP_ENCAPS_PORT");
	set(socket, SCTP_INITMSG, &streams, sizeof streams, "SCTP_INITMSG");
	set(socket, SCTP_NODELAY, &on, sizeof on, "SCTP_NODELAY");
	set(socket, SCTP_RECVRCVINFO, &on, sizeof on, "SCTP_RECVRCVINFO");
}

static struct socket *endpoint(uint16_t port)
{
	struct socket *socket = usrsctp_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	int i;

	if (socket == NULL)
		die("usrsctp_socket");
	configure(socket);
	for (i = 0; i < options.locals; i++) {
		struct sockaddr_in address = options.local[i];
		address.sin_port = htons(port);
		if (usrsctp_bindx(socket, (struct sockaddr *)&address, 1, SCTP_BINDX_ADD_ADDR) < 0)
			die("usrsctp_bindx");
	}
	return socket;
}

/* Says what happened to an association; whether it is over. */
static int notified(const union sctp_notification *event)
{
	char text[INET_ADDRSTRLEN] = "?";

	switch (event->sn_header.sn_type) {
	case SCTP_ASSOC_CHANGE:
		switch (event->sn_assoc_change.sac_state) {
		case SCTP_COMM_UP:
			say("up in=%u out=%u", event->sn_assoc_change.sac_inbound_streams,
			    event->sn_assoc_change.sac_outbound_streams);
			return 0;
		case SCTP_SHUTDOWN_COMP:
			say("shutdown complete");
			return 1;
		default:
			say("lost state=%u error=%u", event->sn_assoc_change.sac_state, event->sn_assoc_change.sac_error);
			return 1;
		}
	case SCTP_PEER_ADDR_CHANGE: {
		const struct sockaddr_in *address = (const struct sockaddr_in *)&event->sn_paddr_change.spc_aaddr;
		if (address->sin_family == AF_INET)
			inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
		say("path %s state=%u", text, event->sn_paddr_change.spc_state);
		return 0;
	}
	case SCTP_SHUTDOWN_EVENT:
		say("shutdown begun by the peer");
		return 0;
	default:
		return 0;
	}
}

/* A message as it comes in, perhaps in several parts. */
struct incoming {
	uint8_t bytes[MAX_MESSAGE];
	size_t length;
	struct sctp_rcvinfo info;
};

/* Reads up to the end of a message: 1, or 0 when the association is over. */
static int next_message(struct socket *socket, struct incoming *message, int *ended)
{
	message->length = 0;
	for (;;) {
		struct sockaddr_in from;
		struct sctp_rcvinfo info;
		socklen_t from_length = sizeof from, info_length = sizeof info;
		unsigned int kind = SCTP_RECVV_NOINFO;
		int flags = 0;
		ssize_t length;

		if (message->length == sizeof message->bytes) {
			say("error: a message is longer than %d bytes", MAX_MESSAGE);
			return 0;
		}
		length = usrsctp_recvv(socket, message->bytes + message->length, sizeof message->bytes - message->length,
		                       (struct sockaddr *)&from, &from_length, &info, &info_length, &kind, &flags);
		if (length <= 0) {
			if (length < 0)
				say("closed: %s", strerror(errno));
			return 0;
		}
		if (flags & MSG_NOTIFICATION) {
			/* Notifications come whole and never between the parts of a message. */
			*ended |= notified((union sctp_notification *)(message->bytes + message->length));
			continue;
		}
		if (kind == SCTP_RECVV_RCVINFO)
			message->info = info;
		message->length += length;
		if (flags & MSG_EOR)
			return 1;
	}
}

static int send_message(struct socket *socket, const void *bytes, size_t length, const struct sctp_sndinfo *info)
{
	ssize_t sent = usrsctp_sendv(socket, bytes, length, NULL, 0, (void *)info, sizeof *info, SCTP_SENDV_SNDINFO, 0);
	if (sent < 0) {
		say("cannot send: %s", strerror(errno));
		return -1;
	}
	if ((size_t)sent != length) {
		say("error: %zd of %zu bytes were taken", sent, length);
		return -1;
	}
	return 0;
}

/* Closing with a linger time of zero is SCTP's ABORT. */
static void abort_association(struct socket *socket)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };
	if (usrsctp_setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now) < 0)
		die("SO_LINGER");
	usrsctp_close(socket);
}

static void *serve(void *argument)
{
	struct socket *socket = argument;
	struct incoming *message = malloc(sizeof *message);
	uint64_t echoed = 0;
	int ended = 0;

	if (message == NULL)
		die("malloc");
	while (next_message(socket, message, &ended)) {
		/* After its own shutdown it only takes what was under way. */
		if (options.shutdown_after && echoed >= options.shutdown_after)
			continue;
		struct sctp_sndinfo info = { .snd_sid = message->info.rcv_sid, .snd_ppid = message->info.rcv_ppid };
		if (message->info.rcv_flags & SCTP_UNORDERED)
			info.snd_flags |= SCTP_UNORDERED;
		if (send_message(socket, message->bytes, message->length, &info) < 0)
			break;
		echoed++;
		if (options.abort_after && echoed == options.abort_after) {
			abort_association(socket);
			say("end aborted after %llu messages", (unsigned long long)echoed);
			free(message);
			return NULL;
		}
		if (options.shutdown_after && echoed == options.shutdown_after && usrsctp_shutdown(socket, SHUT_WR) < 0)
			die("usrsctp_shutdown");
	}
	usrsctp_close(socket);
	say("end after %llu messages", (unsigned long long)echoed);
	free(message);
	return NULL;
}

static _Noreturn void server(void)
{
	struct socket *listener = endpoint(options.port);

	if (usrsctp_listen(listener, 16) < 0)
		die("usrsctp_listen");
	say("ready");
	for (;;) {
		pthread_t thread;
		struct socket *socket = usrsctp_accept(listener, NULL, NULL);
		if (socket == NULL)
			die("usrsctp_accept");
		if (pthread_create(&thread, NULL, serve, socket) != 0)
			die("pthread_create");
		pthread_detach(thread);
	}
}

/* Fills a message so that any other message, and any other part of this one, differs. */
static void fill(uint8_t *bytes, size_t length, uint32_t stream, uint64_t number)
{
	uint64_t state = (number + 1) * 0x9e3779b97f4a7c15u ^ ((uint64_t)stream << 48);
	size_t i;

	for (i = 0; i < length; i++) {
		if (i % 8 == 0) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
		}
		bytes[i] = (uint8_t)(state >> (i % 8 * 8));
	}
	memcpy(bytes, &stream, sizeof stream);
	memcpy(bytes + sizeof stream, &number, sizeof number);
}

/* What the two threads of a client share. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static uint64_t echoes;
static int over;

static void *feed(void *argument)
{
	struct socket *socket = argument;
	uint8_t *bytes = malloc(options.size);
	uint64_t number;

	if (bytes == NULL)
		die("malloc");
	for (number = 0; number < options.messages; number++) {
		struct sctp_sndinfo info = { .snd_sid = number % options.streams, .snd_ppid = htonl(42) };
		int stop;

		pthread_mutex_lock(&lock);
		while (!over && number >= echoes + options.window)
			pthread_cond_wait(&progress, &lock);
		stop = over;
		pthread_mutex_unlock(&lock);
		if (stop)
			break;
		fill(bytes, options.size, info.snd_sid, number);
		if (send_message(socket, bytes, options.size, &info) < 0)
			break;
	}
	free(bytes);
	return NULL;
}

/* Reads the echoes of everything; whether all came as they had to. */
static int collect(struct socket *socket, struct incoming *message, int *ended)
{
	static uint64_t next[MAX_STREAMS];
	uint8_t *expected = malloc(options.size);
	double last = seconds(), stall = 0, start = last;
	uint64_t count, i;
	int good = 1;

	if (expected == NULL)
		die("malloc");
	for (i = 0; i < options.streams; i++)
		next[i] = i;
	for (count = 0; good && count < options.messages; count++) {
		uint16_t stream;
		double now;

		if (!next_message(socket, message, ended)) {
			good = 0;
			break;
		}
		now = seconds();
		stall = now - last > stall ? now - last : stall;
		last = now;
		stream = message->info.rcv_sid;
		good = stream < options.streams && message->length == options.size;
		if (good) {
			fill(expected, options.size, stream, next[stream]);
			good = memcmp(expected, message->bytes, options.size) == 0 && message->info.rcv_ppid == htonl(42);
			next[stream] += options.streams;
		}
		if (!good)
			say("error: echo %llu on stream %u with %zu bytes is not what was sent", (unsigned long long)count,
			    stream, message->length);
		pthread_mutex_lock(&lock);
		echoes = count + 1;
		pthread_cond_signal(&progress);
		pthread_mutex_unlock(&lock);
		if (count % (options.messages / 10 + 1) == 0)
			say("progress %llu", (unsigned long long)count);
	}
	pthread_mutex_lock(&lock);
	over = 1;
	pthread_cond_signal(&progress);
	pthread_mutex_unlock(&lock);
	say("done messages=%llu bytes=%llu seconds=%.3f longest_stall_ms=%.0f", (unsigned long long)count,
	    (unsigned long long)(count * options.size), seconds() - start, stall * 1e3);
	free(expected);
	return good;
}

static int client(void)
{
	struct socket *socket = endpoint(0);
	struct incoming *message = malloc(sizeof *message);
	struct sockaddr_in peers[MAX_ADDRESSES];
	pthread_t feeder;
	int i, good, ended = 0;

	if (message == NULL)
		die("malloc");
	for (i = 0; i < options.peers; i++) {
		peers[i] = options.peer[i];
		peers[i].sin_port = htons(options.port);
	}
	if (usrsctp_connectx(socket, (struct sockaddr *)peers, options.peers, NULL) < 0)
		die("usrsctp_connectx");
	if (pthread_create(&feeder, NULL, feed, socket) != 0)
		die("pthread_create");
	good = collect(socket, message, &ended);
	pthread_join(feeder, NULL);
	if (good && options.abort_at_end) {
		abort_association(socket);
		say("end aborted");
		return 0;
	}
	if (good && usrsctp_shutdown(socket, SHUT_WR) < 0)
		die("usrsctp_shutdown");
	/* Nothing but the end may follow. */
	while (good && next_message(socket, message, &ended))
		good = 0;
	usrsctp_close(socket);
	say(good && ended ? "end shut down" : "end failed");
	return good && ended ? 0 : 1;
}

static void usage(void)
{
	fprintf(stderr, "usage: see the top of usrsctp_peer.c\n");
	exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < least || value > most)
		usage();
	return value;
}

static void address(const char *text, struct sockaddr_in *list, int *count)
{
	if (*count == MAX_ADDRESSES)
		usage();
	memset(&list[*count], 0, sizeof list[*count]);
	list[*count].sin_family = AF_INET;
	if (inet_pton(AF_INET, text, &list[*count].sin_addr) != 1)
		usage();
	(*count)++;
}

static void parse(int count, char **words)
{
	int i;

	for (i = 2; i + 1 < count; i += 2) {
		const char *name = words[i], *value = words[i + 1];

		if (!strcmp(name, "--local"))
			address(value, options.local, &options.locals);
		else if (!strcmp(name, "--peer"))
			address(value, options.peer, &options.peers);
		else if (!strcmp(name, "--port"))
			options.port = number(value, 1, 65535);
		else if (!strcmp(name, "--udp"))
			options.udp = number(value, 1, 65535);
		else if (!strcmp(name, "--peer-udp"))
			options.peer_udp = number(value, 1, 65535);
		else if (!strcmp(name, "--messages"))
			options.messages = number(value, 1, UINT32_MAX);
		else if (!strcmp(name, "--size"))
			options.size = number(value, MIN_MESSAGE, MAX_MESSAGE);
		else if (!strcmp(name, "--streams"))
			options.streams = number(value, 1, MAX_STREAMS);
		else if (!strcmp(name, "--window"))
			options.window = number(value, 1, UINT32_MAX);
		else if (!strcmp(name, "--abort-after"))
			options.abort_after = number(value, 1, UINT32_MAX);
		else if (!strcmp(name, "--shutdown-after"))
			options.shutdown_after = number(value, 1, UINT32_MAX);
		else if (!strcmp(name, "--end") && (!strcmp(value, "abort") || !strcmp(value, "shutdown")))
			options.abort_at_end = !strcmp(value, "abort");
		else
			usage();
	}
	if (i != count || options.locals == 0)
		usage();
}

int main(int count, char **words)
{
	int is_client = count > 1 && !strcmp(words[1], "client");
	int is_server = count > 1 && !strcmp(words[1], "server");
	int status;

	if (!is_client && !is_server)
		usage();
	parse(count, words);
	if (is_client && options.peers == 0)
		usage();
	usrsctp_init(options.udp, NULL, NULL);
	/* As on a LAN; with the defaults of RFC 9260 a lost path is noticed after a minute. */
	usrsctp_sysctl_set_sctp_rto_initial_default(500);
	usrsctp_sysctl_set_sctp_rto_min_default(200);
	usrsctp_sysctl_set_sctp_rto_max_default(2000);
	usrsctp_sysctl_set_sctp_heartbeat_interval_default(1000);
	usrsctp_sysctl_set_sctp_path_rtx_max_default(2);
	usrsctp_sysctl_set_sctp_path_pf_threshold(0);
	if (is_server)
		server();
	status = client();
	/* The library keeps sending until the last packet of the association is out. */
	while (usrsctp_finish() != 0)
		usleep(20 * 1000);
	return status;
}
