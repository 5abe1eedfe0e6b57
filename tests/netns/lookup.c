/* getaddrinfo as a program: `lookup NAME` prints the addresses, or the error's name.
 *
 * Compiled with musl by test_search_lists.py. With AF_UNSPEC it asks for A and
 * AAAA at the same time.
 */
#define _GNU_SOURCE /* EAI_NODATA */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const char *error_name(int error)
{
	switch (error) {
	case EAI_NONAME: return "EAI_NONAME";
	case EAI_AGAIN: return "EAI_AGAIN";
	case EAI_FAIL: return "EAI_FAIL";
#ifdef EAI_NODATA
	case EAI_NODATA: return "EAI_NODATA";
#endif
	default: return gai_strerror(error);
	}
}

int main(int argc, char **argv)
{
	struct addrinfo hints, *found, *one;
	char text[INET6_ADDRSTRLEN];
	int error;

	memset(&hints, 0, sizeof hints);
	hints.ai_socktype = SOCK_STREAM;
	error = getaddrinfo(argv[argc - 1], "443", &hints, &found);
	if (error) {
		puts(error_name(error));
		return 0;
	}
	for (one = found; one; one = one->ai_next) {
		const void *address = one->ai_family == AF_INET
			? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
			: (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
		puts(inet_ntop(one->ai_family, address, text, sizeof text));
	}
	return 0;
}
