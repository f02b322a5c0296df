/* Makes every fsync a millisecond slower, when it is preloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <time.h>

static void wait_a_millisecond(void)
{
	struct timespec left = {0, 1000000};

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

int fsync(int fd)
{
	static int (*real)(int);

	if (!real)
		real = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");
	wait_a_millisecond();
	return real(fd);
}

int fdatasync(int fd)
{
	static int (*real)(int);

	if (!real)
		real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
	wait_a_millisecond();
	return real(fd);
}
