/* Keeps the library of this layer from being empty until its first module stands. */
typedef int store_layer_is_empty;
