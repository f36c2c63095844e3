#include "common/cuda/device.h"

#include <map>
#include <mutex>

namespace pyrnn {
namespace {

Device asked(int device) {
  auto attribute = [device](cudaDeviceAttr name) {
    int value = 0;
    return cudaDeviceGetAttribute(&value, name, device) == cudaSuccess ? value : 0;
  };
  return {
      attribute(cudaDevAttrMultiProcessorCount),           attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
      attribute(cudaDevAttrMaxRegistersPerMultiprocessor), attribute(cudaDevAttrL2CacheSize),
      attribute(cudaDevAttrComputeCapabilityMajor),        attribute(cudaDevAttrComputeCapabilityMinor),
      attribute(cudaDevAttrCooperativeLaunch) != 0};
}

}  // namespace

Device device_properties(int device) {
  static std::map<int, Device> known;
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(device);
  if (found != known.end()) return found->second;
  const Device properties = asked(device);
  if (properties.sms > 0) known.emplace(device, properties);  // else the driver was not there yet
  return properties;
}

}  // namespace pyrnn
