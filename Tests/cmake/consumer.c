/* The least a host does: the library is found, is the version of the header, and works. */
#include <stdio.h>
#include <tamis.h>

int main(void) {
  const float scores[4] = {1, 3, 2, 0};
  int32_t indices[2] = {-1, -1};
  int64_t count = 0;
  tamis_context *context = NULL;
  if (tamis_version_number() != TAMIS_VERSION_NUMBER) return 1;
  if (tamis_context_create(NULL, &context) != TAMIS_OK || tamis_top_k(context, scores, 4, 2, indices, &count) != TAMIS_OK) {
    puts(tamis_last_error());
    return 1;
  }
  tamis_context_destroy(context);
  return !(count == 2 && indices[0] == 1 && indices[1] == 2);
}
