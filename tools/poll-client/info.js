// Info: what the protocol says of people and publications, under the names of the SDKs.

export function asInfo({ client = '', user = '', conn_info: connInfo, chan_info: chanInfo } = {}) {
  return { client, user, connInfo, chanInfo };
}

export function asPublication(channel, { data, offset = 0, info, tags, time }) {
  return { channel, data, offset, info: info && asInfo(info), tags, time };
}
