#include "ipvsd_abi.h"
