/** How many replicas answer, by the instances of the last answers, oldest first; 1 where one only took another's place. */
export function replicasOf(instances: readonly string[]): number {
  // In turn means that one answers again after another did; a restarted one does not come back.
  const isInTurn = instances.some((one, at) => at > 0 && one !== instances[at - 1] && instances.indexOf(one) < at - 1);
  return isInTurn ? new Set(instances).size : 1;
}
