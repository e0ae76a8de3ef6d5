/* Writes a line to the file that it is told, sees to it that it is on the disk, and reads it back. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
    const char text[] = "hello\n";
    char back[sizeof text] = "";
    int file = count == 2 ? open(words[1], O_RDWR | O_CREAT | O_TRUNC, 0644) : -1;
    if (file < 0 || write(file, text, sizeof text - 1) != sizeof text - 1 || fsync(file) != 0 ||
        pread(file, back, sizeof text - 1, 0) != sizeof text - 1 || strcmp(back, text) != 0 || close(file) != 0) {
        perror(count == 2 ? words[1] : "usage: hello FILE");
        return 1;
    }
    puts("written");
    return 0;
}
